"""Checkpoints: files recognised by their content, inspected, converted and loaded without trusting them."""
