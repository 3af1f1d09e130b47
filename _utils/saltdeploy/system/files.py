"""Writes the files of a node completely or not at all, and has a sentence for each error."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import Failed

# The advice for each error of a file system.
ADVICE = {
    errno.EROFS: "See `dmesg` there, repair the file system and mount it for writing.",
    errno.ENOSPC: "Make room there.",
    errno.EDQUOT: "Make room there.",
    errno.EACCES: "Give it back to the minion's user.",
    errno.EPERM: "Give it back to the minion's user.",
    errno.ENOTDIR: "Move the file away that has the name of a folder there.",
    errno.EISDIR: "Move away the folder that has the name of a file there.",
    errno.EIO: "See `dmesg` there: the disk fails.",
}


def write_file(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write ``path`` completely or not at all, even if the power fails meanwhile.

    :param owner: ``(uid, gid)``, if this process may give files away.
    """
    partial = path.with_name(f".{path.name}.partial")
    # A new file: nobody can have opened it while an earlier one had another mode.
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
        os.fchmod(out.fileno(), mode)
        if owner:
            os.fchown(out.fileno(), *owner)
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: Path) -> None:
    """Make the folder ``path`` and its missing parents, which all users may enter with any umask."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


@contextlib.contextmanager
def readable_by_all() -> Iterator[None]:
    """Let all users read the files that are made meanwhile, unless a file is made with a stricter mode."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn an OSError of a file system into Failed, with path and advice."""
    try:
        yield
    except OSError as exc:
        raise Failed(sentence(exc)) from exc


def sentence(exc: OSError) -> str:
    """Return a sentence about an OSError: the path, the problem and the advice."""
    path = f"{exc.filename}: " if exc.filename else ""
    return f"{path}{exc.strerror or exc}. {ADVICE.get(exc.errno or 0, '')}".rstrip()
