"""Tests of signatures over audits."""
