"""Locks between the jobs of a machine, in files that only their owner may open. Every wait has a deadline."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import Failed

# How long a job waits for a lock that is held for a moment only, in seconds. The master waits longer for a job that
# only talks to its agent (jobs.TALK_DEADLINE). So the master hears which process holds the lock.
MOMENT = 45.0
# How often a job tries to take a lock, in seconds.
POLL = 0.02
MODE = 0o600
# The errors of a file system that takes no more. The locks that it has still work.
UNWRITABLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Held(Failed):
    """Another process has held a lock for longer than this process may wait."""


@contextlib.contextmanager
def hold(path: Path, patience: float = MOMENT) -> Iterator[None]:
    """Hold the lock ``path``, a file that is made if it is missing. The holder of the lock may remove the file.

    :param patience: seconds to wait for the lock. 0 does not wait.
    :raises Held: another process still has the lock. The message names it.
    :raises OSError: the file cannot be made.
    """
    deadline = time.monotonic() + patience
    while True:
        descriptor = _open(path)
        try:
            taken = _take(descriptor)
            if taken and _is_still(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if not taken and time.monotonic() >= deadline:
            raise Held(
                f"{path} is locked by {holder(path)}, for longer than {patience:g}s. See what it does, and end it."
            )
        if not taken:
            time.sleep(POLL)


def _open(path: Path) -> int:
    """Return a descriptor of the lock. Only its owner may open it, as anybody could hold a lock that he may open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, MODE)
    except FileNotFoundError:  # the job that removed the last files of an app removed its folder
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(path, flags, MODE)
    except OSError as exc:
        if exc.errno not in UNWRITABLE:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_mode & 0o077:
        with contextlib.suppress(OSError):  # read-only by now
            os.fchmod(descriptor, MODE)
    return descriptor


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether ``path`` is still the file that was locked. A file that was removed meanwhile is nobody's lock."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def holder(path: Path) -> str:
    """Return the holder of the lock ``path``, for a message: id and command, from proc(5)'s ``/proc/locks``."""
    with contextlib.suppress(OSError, ValueError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return f"process {words[4]} ({command(words[4])})"
    return "a process that /proc/locks does not show"


def command(pid: str) -> str:
    """Return the name of the command of a process, ``?`` if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
