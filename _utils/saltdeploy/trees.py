"""Folders made and removed whatever is in them, and whatever the umask is."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path


def make(folder):
    """Make ``folder`` and those above it that are missing, so that users of this machine may enter them."""
    missing = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another job has just made it
            path.mkdir()
            path.chmod(0o755)


def remove(folder):
    """Remove ``folder`` and all that is in it, and follow no link.

    Folders within each other are taken apart first: their names together may be longer than a path can be, and their
    number larger than Python's stack. While that goes on they lie beside ``folder``, as ``<folder>.<number>``.

    :raises OSError: some of it could not be removed. The rest is.
    """
    folder = Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    numbers, pending, problems = itertools.count(), [folder], []
    while pending:
        current = pending.pop()
        with _noted(problems):
            _open_up(current)
            with os.scandir(current) as entries:
                inside = list(entries)
            for entry in inside:
                with _noted(problems):
                    if entry.is_dir(follow_symlinks=False):
                        _open_up(entry.path)
                        pending.append(_beside(entry.path, folder, numbers))
                    else:
                        os.unlink(entry.path)
            os.rmdir(current)
    if problems:
        raise problems[0]


@contextlib.contextmanager
def _noted(problems):
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as exc:
        problems.append(exc)


def _open_up(folder):
    """Let its owner write to a folder: only then, unless it is root, may he empty and move it."""
    with contextlib.suppress(PermissionError):
        os.chmod(folder, stat.S_IRWXU)


def _beside(path, folder, numbers):
    while True:
        target = folder.with_name(f"{folder.name}.{next(numbers)}")
        if not os.path.lexists(target):  # what an earlier removal left has a name, too
            os.rename(path, target)
            return target
