"""Many videos on many devices: the only package that knows Ray and the command line."""
