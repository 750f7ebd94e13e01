"""What is written to the target, in which order, each once."""
