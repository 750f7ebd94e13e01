"""Benchmarks: both sides measured in one run on one machine; claims are ratios."""
