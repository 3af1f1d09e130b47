"""Locks between the jobs of one machine: files that only their owner may open, and no wait without an end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

from ..core.errors import Failed

# How long a lock is waited for that is held for a moment only, in seconds: less than the master waits for a job that
# only talks to its agent (jobs.TALK_DEADLINE), so that it hears who holds the lock.
MOMENT = 45.0
# How often it is tried, in seconds.
POLL = 0.02
MODE = 0o600
# A file system that takes no more still has the locks of before.
UNWRITABLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)


class Held(Failed):
    """Another process has held a lock for as long as it may be waited for."""


@contextlib.contextmanager
def hold(path, patience=MOMENT):
    """Hold the lock ``path``, a file that is made where it is missing. Who holds it may remove it.

    :param patience: seconds to wait for it, 0: not at all.
    :raises Held: somebody else has it still, who is named.
    :raises OSError: it cannot be made.
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


def _open(path):
    """Return a descriptor of the lock. Others could hold a lock that they may open: nobody else may."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, MODE)
    except FileNotFoundError:  # whoever removed the last of an app removed its folder
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


def _take(descriptor):
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(descriptor, path):
    """Return whether ``path`` is the file that was locked: else it was removed meanwhile, and is nobody's lock."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def holder(path):
    """Return who holds the lock ``path``, for a message: process id and command, from proc(5)'s ``/proc/locks``."""
    with contextlib.suppress(OSError, ValueError):
        inode = str(path.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return f"process {words[4]} ({command(words[4])})"
    return "a process that /proc/locks does not show"


def command(pid):
    """Return the name of the command of a process, ``?`` if it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
