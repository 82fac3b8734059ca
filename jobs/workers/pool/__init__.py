"""What a pool of decoders goes by: how many there are, what each is at, and how they share a file."""
