"""Tests of what is called from Python."""
