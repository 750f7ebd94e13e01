"""Requests to a server: the allow-list, signing, retries, time limits, pages."""
