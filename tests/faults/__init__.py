"""The fault battery: every fault is planted on a really migrated target, and must be found and named for what it is."""
