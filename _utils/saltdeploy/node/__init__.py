"""The part of a deployment that a minion does on its node."""
