"""A store as a page to look at: `write_page` and `serve_page`."""
