"""Tests of reading servers."""
