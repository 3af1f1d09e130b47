"""Finds all processes of an instance in proc(5), with any parent, and all processes that listen on its port.

An instance's start script puts the path of its folder into the environment, which other processes inherit. Some
processes write over it to show a title. Such a process is found by its parent, its session, or its folder and the port.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import deadlines
from ..core.errors import Failed
from . import sockets

MARK = "SALTDEPLOY_INSTANCE"
PROC = Path("/proc")
# How often to look whether a process has ended, in seconds.
POLL = 0.02


@dataclass(frozen=True)
class Process:
    """A process at one time. ``began`` distinguishes it from a later process with the same number."""

    pid: int
    parent: int
    group: int
    session: int
    began: int
    command: str

    @property
    def alive(self) -> bool:
        now = read(self.pid)
        return now is not None and now.began == self.began

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def read(pid: int) -> Process | None:
    """Return the Process ``pid``, or None if there is none, or only its exit code is left of it."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The command is in brackets, and may contain brackets itself.
    command, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    if rest[0] in "ZX":
        return None
    return Process(pid, int(rest[1]), int(rest[2]), int(rest[3]), int(rest[19]), command)


def boot() -> str:
    """Return the identity of this boot. Containers have the kernel's id in common, and an init of their own."""
    init = read(1)
    return f"{(PROC / 'sys/kernel/random/boot_id').read_text().strip()} {init.began if init else ''}"


def running() -> dict[int, Process]:
    """Return all processes that have not ended, by pid."""
    found = (read(int(entry)) for entry in os.listdir(PROC) if entry.isdigit())
    return {process.pid: process for process in found if process}


def of(folder: str | os.PathLike[str] | None = None, known: Iterable[Process] = ()) -> list[Process]:
    """Return the processes of the instance with this folder: all with its mark, and all that belong to these.

    :param folder: the folder. None finds only the processes that belong to ``known``.
    :param known: processes that are known to be the instance's own.
    """
    everything = running()
    mine = {p.pid for p in known if everything.get(p.pid) == p}
    if folder is not None:
        mine |= {pid for pid in everything if mark(pid) == str(folder) and _is_here(pid, folder)}
    untouchable = _ancestors(everything)
    mine -= untouchable
    while True:
        # A process that leads a group or a session has made it, so nobody else is in it.
        more = {p.pid for p in everything.values() if {p.parent, p.group, p.session} & mine} - mine - untouchable
        if not more:
            return [everything[pid] for pid in sorted(mine)]
        mine |= more


def listening(address: str, port: int) -> tuple[list[Process], list[str]]:
    """Return the Processes that listen on ``port`` of ``address``, and the users of hidden processes, as text.

    :returns: ``(processes, others)``.
    """
    inodes = {s.inode: s.user for s in sockets.listening(address, port)}
    if not inodes:
        return [], []
    everything = running()
    found = {pid: _sockets(pid) & set(inodes) for pid in everything}
    seen = set().union(*found.values())
    others = sorted({f"a process of the user with id {user}" for inode, user in inodes.items() if inode not in seen})
    return [everything[pid] for pid, theirs in found.items() if theirs], others


def is_inside(process: Process, folder: str | os.PathLike[str]) -> bool:
    """Return whether a process works in ``folder``, or runs a program of it."""
    prefix = os.path.realpath(folder) + os.sep
    for link in ("cwd", "exe"):
        with contextlib.suppress(OSError):
            if f"{os.readlink(PROC / str(process.pid) / link)}{os.sep}".startswith(prefix):
                return True
    return False


def using(folder: str | os.PathLike[str], user: int | None = None) -> list[Process]:
    """Return the Processes of a user that have to do with ``folder``, with any parent and any session.

    Such a process has the path of the folder in its environment, or works in the folder. Or it runs a program of the
    folder, or has a file of the folder open or mapped.

    :param user: the id of the user. None means any user.
    """
    everything, path = running(), os.fsencode(os.path.realpath(folder))
    untouchable = _ancestors(everything)
    return [
        process
        for pid, process in everything.items()
        if pid not in untouchable and user in (None, _user(pid)) and any(path in text for text in _references(pid))
    ]


def marked(root: str | os.PathLike[str]) -> dict[Path, list[Process]]:
    """Return ``{folder: [Process, …]}`` of all processes that have the mark of an instance below ``root``."""
    found: dict[Path, list[Process]] = {}
    for pid, process in running().items():
        folder = mark(pid)
        if folder and folder.startswith(f"{root}{os.sep}") and _is_here(pid, folder):
            found.setdefault(Path(folder), []).append(process)
    return found


def end(find: Callable[[], list[Process]], number: int, timeout: float) -> bool:
    """End the processes that ``find()`` returns, and return whether a process had to be killed.

    :param find: called again and again, because a process that ends may leave another process.
    :param number: the signal that asks them to end.
    :param timeout: seconds until the processes that are still there are killed.
    :raises Failed: a process cannot be killed. The message names it.
    """
    killed = False
    last: float | None = None
    while left := find():
        now = time.monotonic()
        # The timeout begins after the first look, because no process has got a signal before.
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


def _wait(some: list[Process], until: float) -> bool:
    """Wait at most until ``until`` for processes to end, and return whether all have ended."""
    while any(process.alive for process in some):
        if time.monotonic() >= until:
            return False
        time.sleep(POLL)
    return True


def mark(pid: int) -> str | None:
    """Return the folder that a process has as its mark, None if it has none, or this process may not see it."""
    with contextlib.suppress(OSError):
        for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(f"{MARK}=".encode()):
                return os.fsdecode(variable.partition(b"=")[2])
    return None


def _user(pid: int) -> int | None:
    """Return the id of the user that a process runs as. The owner of its folder in proc(5) may be another user."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Uid:\s+(\d+)", (PROC / str(pid) / "status").read_text(errors="replace"), re.M)
        return int(found[1]) if found else None
    return None


def _references(pid: int) -> Iterator[bytes]:
    """Yield the texts of proc(5) with the paths of the files that a process uses."""
    home = PROC / str(pid)
    for name in ("environ", "maps"):
        with contextlib.suppress(OSError):
            yield (home / name).read_bytes()
    with contextlib.suppress(OSError):
        for link in (home / "cwd", home / "exe", *(home / "fd").iterdir()):
            with contextlib.suppress(OSError):
                yield os.fsencode(os.readlink(link))


def _is_here(pid: int, folder: str | os.PathLike[str]) -> bool:
    """Return whether a process is this machine's. A container on it may have a folder of the same name."""
    with contextlib.suppress(OSError):
        if os.readlink(PROC / str(pid) / "ns/pid") == os.readlink(PROC / "self/ns/pid"):
            return True
        return os.path.samefile(f"{PROC}/{pid}/root{folder}", folder)
    return False


def _ancestors(everything: dict[int, Process]) -> set[int]:
    """Return the pids of this process and of its ancestors, which are never an instance's."""
    pid, found = os.getpid(), {1}
    while pid in everything and pid not in found:
        found.add(pid)
        pid = everything[pid].parent
    return found


def _sockets(pid: int) -> set[int]:
    """Return the inodes of the sockets that a process has open, as far as this process may see them."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(PROC / str(pid) / "fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
    return found
