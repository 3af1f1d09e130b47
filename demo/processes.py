"""The demo's daemons: what they are made from, whether they run as they should, and their last lines."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from tooling import ToolError, venv
from tooling.daemons import Daemon, Daemons
from tooling.files import write

POLL = 0.2
LOG_LINES = 15


class Processes:
    """The daemons of one demo.

    :param places: its Places.
    """

    def __init__(self, places):
        self.places, self.daemons = places, Daemons(places.state)

    def daemon(self, name, command, file, text):
        """Return a Daemon, and write its configuration ``text`` to ``file``."""
        write(file, text)
        program = Path(command[0])
        size = str(program.stat().st_size) if program.is_absolute() else ""
        parts = [*map(str, command), text, size, venv.stamp(self.places.venv)]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return Daemon(name, tuple(command), self.places.log / f"{name}.log", digest)

    def runs(self, daemon):
        """Return whether the daemon runs, made from what it should be."""
        process = self.daemons.running().get(daemon.name)
        return process is not None and process.digest == daemon.digest

    def start(self, daemons):
        """Start those that do not run as they should, after stopping what they were."""
        missing = [daemon for daemon in daemons if not self.runs(daemon)]
        names = {daemon.name for daemon in missing}
        self.daemons.stop(lambda p: p.name in names)
        for daemon in missing:
            self.daemons.start(daemon)

    def wait(self, name, ready, what, seconds):
        """Wait until ``ready()``; ToolError with the daemon's last lines if it dies or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if name not in self.daemons.running():
                raise ToolError(f"{name} ended before it could {what}.\n{self.last_lines(name)}")
            if time.monotonic() > deadline:
                raise ToolError(f"{name} did not {what} within {seconds} s.\n{self.last_lines(name)}")
            time.sleep(POLL)

    def check(self, names):
        """Raise ToolError with its last lines if one of the daemons has ended."""
        running = self.daemons.running()
        for name in names:
            if name not in running:
                raise ToolError(f"{name} ended.\n{self.last_lines(name)}")

    def last_lines(self, name):
        """Return the last lines of the daemon's log, as text."""
        log = self.places.log / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        return "\n".join([f"The last lines of {log}:", *(f"  {line}" for line in lines or ["(it is empty)"])])
