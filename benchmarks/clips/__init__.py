"""How fast clips are read for training, beside other readers, and whether their frames are right."""
