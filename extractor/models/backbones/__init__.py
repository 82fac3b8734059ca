"""The backbones: blocks, temporal shift and the layout of their convolutions."""
