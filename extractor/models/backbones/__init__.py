"""The backbones: blocks, temporal shift, and convolutions packed for inference."""
