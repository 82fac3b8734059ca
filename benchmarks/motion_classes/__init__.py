"""What the MotionSqueeze module buys, in miniature: encoded videos whose classes differ by motion alone."""
