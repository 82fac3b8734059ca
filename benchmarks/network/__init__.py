"""The speed of the networks, beside a plain version."""
