"""Join a store with annotations and serve samples to a DataLoader."""
