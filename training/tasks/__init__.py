"""Training tasks and their losses."""
