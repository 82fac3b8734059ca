"""What learning without labels does to features, in miniature."""
