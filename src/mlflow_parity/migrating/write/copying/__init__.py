"""Files from S3 to S3 without a byte through this machine, proved afterwards; what cannot be copied so is streamed."""
