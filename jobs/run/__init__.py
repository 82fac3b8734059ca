"""One run: what was asked for, the plan, the videos of the store, and what came of it."""
