"""How a release comes to a node."""
