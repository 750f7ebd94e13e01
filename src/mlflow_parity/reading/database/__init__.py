"""The database beside the API: what is heavy, read in one read-only transaction. Nothing in here can write to it."""
