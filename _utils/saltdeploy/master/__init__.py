"""The master's work: what a verb of the runner does."""
