"""Which object of the target is which object of the source."""
