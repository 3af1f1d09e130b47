"""The umask of a test, the modes of the files that it makes, and a folder that all may enter."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path


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


@contextlib.contextmanager
def open_folder():
    """Yield a folder with a short path that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)
