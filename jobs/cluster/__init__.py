"""Ray: started or joined, watched and stopped; what machines offer, and how workers are placed on them."""
