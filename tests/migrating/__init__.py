"""Tests of ``migrate.py``."""
