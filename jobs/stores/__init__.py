"""What is done with a finished store: its status, verification, comparison and export."""
