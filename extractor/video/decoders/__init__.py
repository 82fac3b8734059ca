"""The decoders: PyAV and decord, and which of their messages mean damage."""
