"""The contract and the checks, gathered from the kinds."""
