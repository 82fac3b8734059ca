"""The appearance of layers: textures and outlines."""
