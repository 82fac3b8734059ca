"""What a network learns, and the losses it learns by."""
