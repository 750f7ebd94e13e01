"""The objects of every kind but experiments and runs: what pairs of them are, and what their files are worth."""
