"""An audit shared among processes: each reads a shard (an experiment, or a part of a large one) and judges it."""
