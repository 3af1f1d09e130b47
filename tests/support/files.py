"""The umask of a test, and the modes of the files that it makes."""

from __future__ import annotations

import contextlib
import os
import stat


@contextlib.contextmanager
def umask(mask):
    """Set the umask of this process for a while. The code under test must leave it as it is."""
    before = os.umask(mask)
    try:
        yield
    finally:
        assert os.umask(before) == mask


def assert_all_may_enter(path, root):
    """Assert that every user may enter the folder ``path``, and each folder above it up to ``root``."""
    while path != root.parent:
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path
        path = path.parent
