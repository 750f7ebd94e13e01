"""Traces with their spans and links."""
