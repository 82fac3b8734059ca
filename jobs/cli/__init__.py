"""The command `msnet`: it translates options and calls the functions that do the work."""
