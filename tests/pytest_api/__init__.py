"""Tests of the plugin beside others."""
