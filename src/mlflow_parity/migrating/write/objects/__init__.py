"""How each kind of object is written."""
