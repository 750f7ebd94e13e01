"""Tests of Apps and managed servers."""
