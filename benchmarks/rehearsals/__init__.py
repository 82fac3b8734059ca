"""What happens to a run when parts of a cluster fail, rehearsed on one machine."""
