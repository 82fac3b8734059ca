"""Commands that take features to and from the formats of others."""
