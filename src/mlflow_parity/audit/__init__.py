"""One audit: inventory, read both sides, pair, compare, confirm, judge. Runs in pytest's main process."""
