"""The command `msnet`: options are translated and handed on; what is done is done by functions of the same name."""
