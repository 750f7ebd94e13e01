"""Audits over time: the reports that folders or a tracking server keep, and what is new in the newest."""
