"""The part of a deployment that a minion does on its node.

A module of this package is imported when it is first used, because Salt starts a process for each job, and a job needs
few of them.
"""

from __future__ import annotations

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    """Return the module ``name`` of this package (PEP 562)."""
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as exc:
        if exc.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
