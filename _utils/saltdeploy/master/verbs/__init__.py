"""The verbs of the runner."""
