"""An audit within pytest: session, test items of a run, own checks, and the commands that are pytest."""
