"""Tests of audits as a whole."""
