"""Tests of the kinds and the contract."""
