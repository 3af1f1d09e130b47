"""Makes and removes folders, with any content and with any umask."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path

# The folder in which each open descriptor of this process has a path.
OPEN = "/proc/self/fd"


def make(folder):
    """Make ``folder`` and its missing parents, so that users of this machine may enter them."""
    missing = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another job has just made it
            path.mkdir()
            path.chmod(0o755)


def remove(folder):
    """Remove ``folder`` and all that is in it, and follow no link.

    A process of its owner may put a link in the place of a folder at any moment. So a path leads only to the folder
    above ``folder``, to which nobody else may write.

    Folders within each other are taken apart first. Their names together may be longer than a path can be, and their
    number larger than Python's stack. Meanwhile they lie beside ``folder``, as ``<folder>.<number>``.

    :raises OSError: some of it could not be removed. The rest is removed.
    """
    folder, problems = Path(folder), []
    names = (f"{folder.name}.{number}" for number in itertools.count())
    with contextlib.suppress(FileNotFoundError), _opened(folder.parent, 0) as above:
        pending = [folder.name]
        while pending:
            with _noted(problems):
                _remove_one(pending.pop(), above, names, pending, problems)
    if problems:
        raise problems[0]


def _remove_one(name, above, names, pending, problems):
    """Remove ``name`` from the open folder ``above``. Folders in it are moved there and added to ``pending``."""
    if _unlinked(name, above):
        return
    with _opened_up(name, above) as current:
        with os.scandir(f"{OPEN}/{current}") as entries:
            inside = [entry.name for entry in entries]
        for inner in inside:
            with _noted(problems):
                if not _unlinked(inner, current):
                    with _opened_up(inner, current):
                        new = next(n for n in names if not _exists(n, above))
                        os.rename(inner, new, src_dir_fd=current, dst_dir_fd=above)
                    pending.append(new)
    os.rmdir(name, dir_fd=above)


@contextlib.contextmanager
def _noted(problems):
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as exc:
        problems.append(exc)


def _unlinked(name, above):
    """Remove a file or a link. Return False if ``name`` is a folder."""
    try:
        os.unlink(name, dir_fd=above)
    except IsADirectoryError:
        return False
    return True


@contextlib.contextmanager
def _opened_up(name, above):
    """Open a folder, but no link, and let its owner write to it. Otherwise only root may move the folder."""
    with _opened(name, os.O_NOFOLLOW, above) as current:
        with contextlib.suppress(PermissionError):
            os.chmod(f"{OPEN}/{current}", stat.S_IRWXU)
        yield current


@contextlib.contextmanager
def _opened(name, flags, above=None):
    """Open a folder that this process need not be allowed to read."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | flags, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _exists(name, above):
    """Return whether the open folder ``above`` has ``name``. An earlier removal may have left it."""
    with contextlib.suppress(FileNotFoundError):
        return bool(os.stat(name, dir_fd=above, follow_symlinks=False))
    return False
