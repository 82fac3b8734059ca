"""What the layers of the world look like: textures and outlines."""
