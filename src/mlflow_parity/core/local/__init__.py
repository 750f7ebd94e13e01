"""This machine: its files, folders that last for a while, and memory."""
