"""What makes two things the same: digests, sums, keys, and which id stands for which."""
