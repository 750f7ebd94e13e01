"""Hands a migration over to the checks, and says whether their audit covers it."""
