"""What is odd about a stored video, and worth a look."""

ODDITIES = {
    "restarted with another decoder": "fallback_reason",
    "with made-up times": "times_made_up",
    "at their own, lower rate": "rate_capped",
    "with damaged packets": "bad_packets",
    "with damaged frames kept": "bad_frames",
    "flagged, so decoded by PyAV": "flags",
}
"""In words, each with the column of the manifest whose value is true, not empty or above zero."""

FLAGS = {
    "container": "neither MP4, MOV, Matroska nor WebM",
    "codec": "neither H.264, HEVC, VP8, VP9, AV1 nor MPEG-4 part 2",
    "pixel_format": "not 4:2:0, 4:2:2 or 4:4:4 with 8 bits",
    "more_than_8_bits": "more than 8 bits a colour",
    "maybe_interlaced": "perhaps interlaced",
    "discarded_packets": "an edit list cuts into a group of pictures",
    "hidden_packets": "packets that show nothing",
    "empty_packets": "packets without content",
    "corrupt_packets": "packets that the demuxer marked as damaged",
    "missing_stamps": "frames without a time",
    "duplicate_stamps": "frames with the same time",
    "clock_restarts": "times restart or overlap: made up, and continuous",
    "stamp_outliers": "some times fit no clock: those frames' are interpolated",
    "uneven_slots": "AVI with empty slots: times are made up",
    "leading_pictures": "pictures that refer to missing ones, never shown",
    "starts_before_keyframe": "does not begin with a keyframe",
    "several_resolutions": "the size of frames changes",
    "odd_rotation": "not a multiple of 90 degrees: the nearest one is applied",
    "mirrored": "frames are flipped",
    "orientation_in_stream": "the stream says its orientation, not the container",
    "orientation_changes": "frames are not all turned alike",
    "orientation_unread": "its orientation could not be read",
    "pixel_aspect_ignored": "an impossible shape of pixels: taken as square",
    "cover_picture": "begins with a cover picture: the next stream is used",
    "late_video": "the video begins late in the file",
    "unread_rest": "another file is joined to it, and not read",
    "cut_off": "shorter than it claims",
    "long": "more than 256 MiB of frames, which PyAV decodes in little memory",
    "images": "a folder of images",
    "jumps": "what lies between segments was left out",
    "from_start": "decoded from the start, not from near the segment",
}
"""What each flag means, in few words; docs/decoding.md has the reasons. A flag may end in a name, like `codec:gif`."""


def flag_meaning(flag: str) -> str:
    """What a flag of the manifest means; "" for one of another version."""
    return FLAGS.get(flag.partition(":")[0], "")
