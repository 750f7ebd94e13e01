"""The export: a snapshot of the source, the bytes of its files, and what the tool reads."""
