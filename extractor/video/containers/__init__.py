"""What a file says of itself: boxes, streams, packets, clocks and orientation. Nothing is decoded but for a survey."""
