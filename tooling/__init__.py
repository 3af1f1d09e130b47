"""Programs and processes on this machine, for demo, lab, tests and benchmarks. Standard library only."""


class ToolError(Exception):
    """What failed, and what to do about it: shown to the user as it is."""
