"""A node's work: what a minion does for a deployment."""
