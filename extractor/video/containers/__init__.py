"""What a file says about itself: boxes, streams, packets, clocks, orientation. Only a survey decodes it."""
