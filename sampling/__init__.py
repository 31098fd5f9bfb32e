"""Sampling designs, exact bounds and selection: pure functions on arrays."""
