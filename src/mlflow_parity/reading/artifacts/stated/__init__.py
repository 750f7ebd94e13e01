"""What stores state of the bytes of a file: checksums, ETags, attributes."""
