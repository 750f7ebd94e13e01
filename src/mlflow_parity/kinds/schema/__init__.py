"""What a kind of object states of itself."""
