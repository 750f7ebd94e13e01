"""Drives the Export Import tool, and the demo of what it loses."""
