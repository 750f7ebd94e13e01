"""What is looked at before a migration: sizes, limits, both ends, what cannot be moved."""
