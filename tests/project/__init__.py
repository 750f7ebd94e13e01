"""Tests of what is around the package: documents, distribution, command, secrets."""
