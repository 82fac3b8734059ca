"""From a file to frames: listing, sampling, preflight, decoding, resizing. Import from the modules themselves."""
