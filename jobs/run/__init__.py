"""One run: the request, the plan, the videos of the store, and the outcome."""
