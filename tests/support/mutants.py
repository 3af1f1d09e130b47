"""Modules of the product with a bug put in on purpose, to see that a test finds it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path


def mutant(name, *changes):
    """Return a copy of the module ``name`` with ``changes`` made to its source; the module itself stays as it is.

    :param changes: pairs of text: what is there, exactly once, and what comes in its place.
    :raises LookupError: the source has no such text (any more), or has it several times.
    """
    spec = importlib.util.find_spec(name)
    path = Path(spec.origin)
    source = path.read_text()
    for old, new in changes:
        if source.count(old) != 1:
            raise LookupError(f"{path.name} has {old!r} {source.count(old)} times, not once: write the mutation anew.")
        source = source.replace(old, new)
    module = importlib.util.module_from_spec(spec)
    with standing_in(name, module):
        exec(compile(source, f"{path} (mutant)", "exec"), module.__dict__)
    return module


@contextmanager
def standing_in(name, module):
    """Have ``module`` imported by whoever imports ``name``."""
    package, _, attribute = name.rpartition(".")
    real = importlib.import_module(name)
    sys.modules[name] = module
    setattr(sys.modules[package], attribute, module)
    try:
        yield
    finally:
        sys.modules[name] = real
        setattr(sys.modules[package], attribute, real)


def over(tests, name, module):
    """Return a copy of the module ``tests`` that has imported ``module`` for ``name``."""
    spec = importlib.util.find_spec(tests)
    copy = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up by name.
    with standing_in(tests, copy), standing_in(name, module):
        spec.loader.exec_module(copy)
    return copy
