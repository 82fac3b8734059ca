"""How an export is laid out: names of videos, one file or folder a video, parts of many videos."""
