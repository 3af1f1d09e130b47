"""Removes folders with any content."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

# The folder in which each open descriptor of this process has a path.
OPEN = "/proc/self/fd"


def remove(folder: str | os.PathLike[str]) -> None:
    """Remove ``folder`` and all that is in it, and follow no link.

    A process of its owner may put a link in the place of a folder at any moment. So a path leads only to the folder
    above ``folder``, to which nobody else may write.

    Folders within each other are taken apart first. Their names together may be longer than a path can be, and their
    number larger than Python's stack. Meanwhile they lie beside ``folder``, as ``<folder>.<number>``.

    :raises OSError: some of it could not be removed. The rest is removed.
    """
    folder = Path(folder)
    problems: list[OSError] = []
    names = (f"{folder.name}.{number}" for number in itertools.count())
    with contextlib.suppress(FileNotFoundError), _opened(folder.parent, 0) as above:
        pending = [folder.name]
        while pending:
            with _noted(problems):
                _remove_one(pending.pop(), above, names, pending, problems)
    if problems:
        raise problems[0]


def _remove_one(name: str, above: int, names: Iterator[str], pending: list[str], problems: list[OSError]) -> None:
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
def _noted(problems: list[OSError]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        pass
    except OSError as exc:
        problems.append(exc)


def _unlinked(name: str, above: int) -> bool:
    """Remove a file or a link. Return False if ``name`` is a folder."""
    try:
        os.unlink(name, dir_fd=above)
    except IsADirectoryError:
        return False
    return True


@contextlib.contextmanager
def _opened_up(name: str, above: int) -> Iterator[int]:
    """Open a folder, but no link, and let its owner write to it. Otherwise only root may move the folder."""
    with _opened(name, os.O_NOFOLLOW, above) as current:
        with contextlib.suppress(PermissionError):
            os.chmod(f"{OPEN}/{current}", stat.S_IRWXU)
        yield current


@contextlib.contextmanager
def _opened(name: str | os.PathLike[str], flags: int, above: int | None = None) -> Iterator[int]:
    """Open a folder that this process need not be allowed to read."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | flags, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _exists(name: str, above: int) -> bool:
    """Return whether the open folder ``above`` has ``name``. An earlier removal may have left it."""
    with contextlib.suppress(FileNotFoundError):
        return bool(os.stat(name, dir_fd=above, follow_symlinks=False))
    return False
