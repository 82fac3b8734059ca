"""Pictures of videos and of training runs. They need matplotlib, the extra `plot`."""
