"""The commands of `msnet weights`."""
