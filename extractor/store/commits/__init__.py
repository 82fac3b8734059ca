"""How items get into a store: runs, leases, attempts, staged items and the commit of a shard."""
