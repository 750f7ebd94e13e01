"""Looking once more: at what seems to differ, and at the bytes of one file."""
