"""Learning classes from labelled videos, as the paper trains."""
