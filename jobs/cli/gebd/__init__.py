"""The commands of `msnet gebd`."""
