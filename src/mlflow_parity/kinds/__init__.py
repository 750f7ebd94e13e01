"""What an object is, what must be equal, and what may differ and why."""
