"""What workers of a cluster judge."""
