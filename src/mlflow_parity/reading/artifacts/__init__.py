"""Where files are, and how each store is listed and read."""
