"""Ray: started or joined, watched and ended; what machines there are and how workers are laid over them."""
