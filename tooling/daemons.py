"""Processes: start them, know them again, stop them.

The processes themselves say what runs: each has in its environment whose it is (the state folder),
which daemon it belongs to and what that was started from. So no pid file can be stale or missing,
and what an interrupted run left behind is found like the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import ToolError
from .commands import environment

INSTANCE = "SALTDEPLOY_INSTANCE"
OWNER, NAME, DIGEST = "SALTDEPLOY_DEMO", "SALTDEPLOY_DEMO_DAEMON", "SALTDEPLOY_DEMO_DIGEST"
# Seconds: for a daemon to end what it started and itself; for what outlived it; after SIGKILL.
GRACE, ORPHAN_GRACE, KILL_GRACE = 20.0, 3.0, 10.0
POLL = 0.05
ESTABLISHED, LISTENING = "01", "0A"


@dataclass(frozen=True)
class Daemon:
    """A program that runs until it is stopped.

    :param digest: of all that it was made from; another digest is another daemon.
    """

    name: str
    command: tuple
    log: Path
    digest: str


@dataclass(frozen=True)
class Process:
    """A process that is ours. ``started``, in ticks since boot, tells it from a later one with its pid."""

    pid: int
    started: int
    leader: bool
    name: str
    digest: str


class Daemons:
    """The processes of one state folder.

    :param state: the folder whose path marks them.
    """

    def __init__(self, state):
        self.state = str(state)

    def find(self):
        """Return all processes that carry the mark, but for this one."""
        pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
        found = (self._read(pid) for pid in pids if pid != os.getpid())
        return [process for process in found if process]

    def running(self):
        """Return ``{name: Process}`` of the daemons; what outlived its daemon is not in it."""
        return {p.name: p for p in self.find() if p.leader and p.name}

    def start(self, daemon):
        """Start ``daemon``, its output in its log, after ending what an earlier one left."""
        self.stop(lambda process: process.name == daemon.name)
        daemon.log.parent.mkdir(parents=True, exist_ok=True)
        if daemon.log.exists():
            daemon.log.replace(daemon.log.with_suffix(".log.1"))
        marks = {OWNER: self.state, NAME: daemon.name, DIGEST: daemon.digest}
        with daemon.log.open("ab") as log:
            process = subprocess.Popen(
                list(map(str, daemon.command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.state,
                env=environment(**marks),
                start_new_session=True,
            )
        # It has begun a moment before its marks can be read.
        while process.poll() is None and not self._read(process.pid):
            time.sleep(POLL / 10)

    def stop(self, chosen=lambda process: True):
        """End the chosen processes: ask the daemons, then what outlived them, then kill.

        :param chosen: says of a Process whether it is meant.
        :raises ToolError: one is still there after SIGKILL.
        """
        self._end(lambda p: p.leader and chosen(p), signal.SIGTERM, GRACE)
        self._end(chosen, signal.SIGTERM, ORPHAN_GRACE)
        left = self._end(chosen, signal.SIGKILL, KILL_GRACE)
        if left:
            pids = ", ".join(f"{p.name} (pid {p.pid})" for p in left)
            raise ToolError(f"{pids} cannot be ended, not even by SIGKILL: see `cat /proc/PID/status`.")

    def send(self, process, number):
        """Send signal ``number``, unless the pid is another process's by now."""
        if self._read(process.pid) == process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _end(self, chosen, number, patience):
        """Signal the chosen ones and wait until they are gone; return those that are not."""
        for process in filter(chosen, self.find()):
            self.send(process, number)
        deadline = time.monotonic() + patience
        while True:
            left = list(filter(chosen, self.find()))
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(POLL)

    def _read(self, pid):
        """Return the Process, None if it is not ours, not ours to see, or gone (a zombie is gone)."""
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        marks = dict(item.partition("=")[::2] for item in os.fsdecode(environ).split("\0"))
        # What a supervisor of ours has started has no environment of ours, but it says where it is from.
        if marks.get(OWNER) != self.state and not marks.get(INSTANCE, "").startswith(f"{self.state}{os.sep}"):
            return None
        # The second field, the program's name, is in brackets and may hold anything.
        fields = stat.rpartition(")")[2].split()
        session, started = int(fields[3]), int(fields[19])
        return Process(pid, started, session == pid, marks.get(NAME, ""), marks.get(DIGEST, ""))


@contextlib.contextmanager
def only_one(path):
    """Hold the lock file ``path``; ToolError names the pid that holds it already. Ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise ToolError(
                f"another `make demo` or `make demo-down` is at work here (pid {lock.read().strip() or 'unknown'})."
                " Wait for it, or end it with Ctrl-C there."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_free(address, port, purpose):
    """Raise ToolError that names who has it if ``address``:``port`` cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as exc:
            raise ToolError(
                f"{address}:{port} is needed for {purpose}, but {listener(port) or exc}. Stop that, and run this again."
            ) from exc


def listener(port):
    """Return who listens on TCP ``port``, in words; empty if nobody does."""
    inodes = {f"socket:[{row[9]}]" for row in _sockets(LISTENING) if _port(row[1]) == port}
    if not inodes:
        return ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if any(_link(f"/proc/{pid}/fd/{fd}") in inodes for fd in os.listdir(f"/proc/{pid}/fd")):
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid}) listens there"
    return "another user's process listens there (see `ss -ltnp` as root)"


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def connections(port):
    """Return how many TCP connections there are to ``port`` on this machine."""
    return sum(_port(row[2]) == port for row in _sockets(ESTABLISHED))


def _sockets(state):
    """Return the rows of the kernel's TCP tables that are in ``state``: [1] local, [2] remote, [9] inode."""
    rows = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            rows += [line.split() for line in Path(table).read_text().splitlines()[1:]]
    return [row for row in rows if row[3] == state]


def _port(address):
    return int(address.rpartition(":")[2], 16)
