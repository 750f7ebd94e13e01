"""Differences that somebody accepted, and the values that they are bound to."""
