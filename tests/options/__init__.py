"""Tests of the options of an audit, end to end."""
