"""Where a store's videos and clips are: clips.index, which is read in pieces, or the same made from the manifest."""
