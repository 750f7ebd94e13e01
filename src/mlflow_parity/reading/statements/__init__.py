"""What a caller's files state of the bytes in stores: reports and lists that the stores' own services have made."""
