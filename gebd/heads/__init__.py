"""Heads on stored features: networks, training and prediction."""
