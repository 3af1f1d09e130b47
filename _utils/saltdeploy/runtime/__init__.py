"""The only place that speaks to what runs processes: systemd or supervisord."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused

PREFIX = "app-"
# How long a process may take to end after SIGTERM before SIGKILL, in seconds.
STOP_TIMEOUT = 10


@dataclass(frozen=True)
class Unit:
    """A process to supervise.

    :param command: absolute path of the program to run, without arguments.
    :param user: whom to run it as; empty: as whoever the supervisor is.
    :param log: where supervisord writes its output (systemd has the journal).
    :param memory: what it may use at most, as systemd has it; ``cpu``: in percent of one processor. Empty: no limit.
    """

    id: str
    command: Path
    directory: Path
    log: Path
    user: str = ""
    memory: str = ""
    cpu: str = ""


@dataclass(frozen=True)
class State:
    """What a supervisor says of a unit.

    :param failed: it ended since it was started, even if it is up again.
    :param pid: its process; 0 while it has none.
    """

    running: bool
    failed: bool
    detail: str
    pid: int = 0


def choose(settings):
    """Return the runtime of this node: the one configured, else its init, else a supervisord.

    :param settings: the minion's ``saltdeploy`` configuration.
    """
    kind = settings.get("runtime") or ("systemd" if os.path.isdir("/run/systemd/system") else "supervisord")
    if kind == "systemd":
        from .systemd import Systemd

        return Systemd()
    if kind == "supervisord":
        from .supervisord import Supervisord

        config = settings.get("supervisord") or {}
        return Supervisord(
            config.get("socket", "/run/supervisor.sock"), config.get("include", "/etc/supervisor/conf.d")
        )
    raise Refused(f"saltdeploy:runtime: found {kind!r}, allowed is systemd or supervisord")
