"""Imports the modules of a package when they are first used (PEP 562).

Salt starts a process for each job and for each run, which needs few of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType


def modules(package: str) -> Callable[[str], ModuleType]:
    """Return the ``__getattr__`` of a package: it imports the module of that name.

    :param package: the ``__name__`` of the package.
    """

    def __getattr__(name: str) -> ModuleType:
        try:
            return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError as exc:
            if exc.name != f"{package}.{name}":
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    return __getattr__
