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
