"""The processes of an instance, from proc(5): all of them, whoever their parent is, and whatever listens on its port.

An instance's start script puts the path of its folder into the environment, and that is inherited. A process that has
lost it (some write over it to show a title) is found by its parent, its session, or its folder and the port.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ..core import deadlines
from ..core.errors import Failed
from . import sockets

MARK = "SALTDEPLOY_INSTANCE"
PROC = Path("/proc")
# How often a process that was told to end is looked after, in seconds.
POLL = 0.02


@dataclass(frozen=True)
class Process:
    """A process at one time. ``began`` tells it from a later one with the same number."""

    pid: int
    parent: int
    group: int
    session: int
    began: int
    command: str

    @property
    def alive(self):
        now = read(self.pid)
        return now is not None and now.began == self.began

    def send(self, number):
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)

    def __str__(self):
        return f"process {self.pid} ({self.command})"


def read(pid):
    """Return the Process ``pid``; None if there is none, or only its exit code is left of it."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command is in brackets, and may have some itself.
    command, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    if rest[0] in "ZX":
        return None
    return Process(pid, int(rest[1]), int(rest[2]), int(rest[3]), int(rest[19]), command)


def running():
    """Return all processes that have not ended, by pid."""
    found = (read(int(entry)) for entry in os.listdir(PROC) if entry.isdigit())
    return {process.pid: process for process in found if process}


def of(folder=None, known=()):
    """Return the processes of the instance whose folder this is: those with its mark, and all that belong to them.

    :param folder: None: only what belongs to ``known`` is looked for.
    :param known: Processes that are known to be its own.
    """
    everything = running()
    mine = {p.pid for p in known if everything.get(p.pid) == p}
    if folder is not None:
        mine |= {pid for pid in everything if mark(pid) == str(folder) and _is_here(pid, folder)}
    untouchable = _ancestors(everything)
    mine -= untouchable
    while True:
        # Those that lead a group or a session have made it: nobody else is in it.
        more = {p.pid for p in everything.values() if {p.parent, p.group, p.session} & mine} - mine - untouchable
        if not more:
            return [everything[pid] for pid in sorted(mine)]
        mine |= more


def listening(address, port):
    """Return the Processes that listen on ``port`` of ``address``; the users of those that cannot be seen, as text.

    :returns: ``(processes, others)``
    """
    inodes = {s.inode: s.user for s in sockets.listening(address, port)}
    if not inodes:
        return [], []
    everything = running()
    found = {pid: _sockets(pid) & set(inodes) for pid in everything}
    seen = set().union(*found.values())
    others = sorted({f"a process of the user with id {user}" for inode, user in inodes.items() if inode not in seen})
    return [everything[pid] for pid, theirs in found.items() if theirs], others


def is_inside(process, folder):
    """Return whether a process works in ``folder``, or runs a program of it."""
    prefix = os.path.realpath(folder) + os.sep
    for link in ("cwd", "exe"):
        with contextlib.suppress(OSError):
            if f"{os.readlink(PROC / str(process.pid) / link)}{os.sep}".startswith(prefix):
                return True
    return False


def using(folder, user):
    """Return the Processes of a user that have to do with ``folder``, whoever their parent and their session are.

    Such a process has the path of the folder in its environment, works in the folder, runs a program of it, or has a
    file of it open or mapped.

    :param user: the id of the user.
    """
    everything, path = running(), os.fsencode(os.path.realpath(folder))
    untouchable = _ancestors(everything)
    return [
        process
        for pid, process in everything.items()
        if pid not in untouchable and _user(pid) == user and any(path in text for text in _references(pid))
    ]


def marked(root):
    """Return ``{folder: [Process, …]}`` of all processes that have the mark of an instance below ``root``."""
    found = {}
    for pid, process in running().items():
        folder = mark(pid)
        if folder and folder.startswith(f"{root}{os.sep}") and _is_here(pid, folder):
            found.setdefault(Path(folder), []).append(process)
    return found


def end(find, number, timeout):
    """End the processes that ``find()`` returns; return whether one had to be killed.

    :param find: called again and again: a process that ends may leave another.
    :param number: the signal that asks them to end.
    :param timeout: seconds until those that are still there are killed.
    :raises Failed: one cannot be killed; it is named.
    """
    killed, last = False, None
    while left := find():
        now = time.monotonic()
        # Until the first look is over they have not been told.
        last = last or now + timeout
        if now > last + deadlines.KILL:
            raise Failed(
                f"{', '.join(map(str, left))}: does not end, or is started again and again. See what does that."
            )
        for process in left:
            process.send(number)
        if _wait(left, last):
            continue
        killed = True
        for process in left:
            process.send(signal.SIGKILL)
        if not _wait(left, time.monotonic() + deadlines.KILL):
            stuck = ", ".join(str(process) for process in left if process.alive)
            raise Failed(f"{stuck}: does not end, not even after SIGKILL. See what it waits for in the kernel.")
    return killed


def _wait(some, until):
    """Wait until processes have ended; return whether they have by then."""
    while any(process.alive for process in some):
        if time.monotonic() >= until:
            return False
        time.sleep(POLL)
    return True


def mark(pid):
    """Return the folder that a process has as its mark, None if it has none, or this process may not see it."""
    with contextlib.suppress(OSError):
        for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(f"{MARK}=".encode()):
                return os.fsdecode(variable.partition(b"=")[2])
    return None


def _user(pid):
    """Return the id of the user that a process runs as. The owner of its folder in proc(5) may be another."""
    with contextlib.suppress(OSError):
        return int(re.search(r"^Uid:\s+(\d+)", (PROC / str(pid) / "status").read_text(errors="replace"), re.M)[1])
    return None


def _references(pid):
    """Yield the texts of proc(5) that have the paths of what a process uses."""
    home = PROC / str(pid)
    for name in ("environ", "maps"):
        with contextlib.suppress(OSError):
            yield (home / name).read_bytes()
    with contextlib.suppress(OSError):
        for link in (home / "cwd", home / "exe", *(home / "fd").iterdir()):
            with contextlib.suppress(OSError):
                yield os.fsencode(os.readlink(link))


def _is_here(pid, folder):
    """Return whether a process is this machine's: a container on it may have a folder of the same name."""
    with contextlib.suppress(OSError):
        if os.readlink(PROC / str(pid) / "ns/pid") == os.readlink(PROC / "self/ns/pid"):
            return True
        return os.path.samefile(f"{PROC}/{pid}/root{folder}", folder)
    return False


def _ancestors(everything):
    """Return the pids of this process and of those above it, which are never an instance's."""
    pid, found = os.getpid(), {1}
    while pid in everything and pid not in found:
        found.add(pid)
        pid = everything[pid].parent
    return found


def _sockets(pid):
    """Return the inodes of the sockets that a process has open, as far as this one may see."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found
