"""Generic event boundary detection on extracted features. Needs neither Ray nor a decoder."""
