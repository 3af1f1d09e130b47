"""A deployment: its waves, its record and its revert."""
