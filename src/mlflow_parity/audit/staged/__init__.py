"""Reading in stages: the lists of both sides first, then only what is wanted of what they name."""
