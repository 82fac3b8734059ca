"""Backbone and head learn event boundaries together: what needs `training` and `gebd` at once."""
