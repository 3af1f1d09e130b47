"""The protocol of a runtime, and the parts that all runtimes share."""

from __future__ import annotations

import contextlib
import math
import re
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..core.model import Stop

PREFIX = "app-"
# The most bytes of an instance's output that a job returns, and the most characters of a line. A job's result goes over
# Salt's bus, and onto a terminal.
LOG, LINE = 100_000, 2000


@dataclass(frozen=True)
class Unit:
    """A process to supervise.

    :param command: absolute path of the program to run, without arguments. For an ``adopted`` unit, a file with its
        further variables.
    :param user: the user to run it as. Empty takes the user of the supervisor.
    :param log: where supervisord writes its output (systemd has the journal).
    :param memory: the most memory that it may use, as systemd writes it. Empty sets no limit.
    :param cpu: the most that it may use, in percent of a single processor. Empty sets no limit.
    :param stop: how it is stopped, for as long as this unit is there.
    :param adopted: the unit of a Debian package of which this unit is a copy. Empty means none.
    :param container: whether ``command`` becomes podman, which makes a sandbox and passes signals on.
    """

    id: str
    command: Path
    directory: Path
    log: Path
    user: str = ""
    memory: str = ""
    cpu: str = ""
    stop: Stop = field(default_factory=Stop)
    adopted: str = ""
    container: bool = False


@dataclass(frozen=True)
class State:
    """The state of a unit, as a supervisor reports it.

    :param failed: it ended since it was started, even if it is up again.
    :param pid: its process, 0 while it has none.
    """

    running: bool
    failed: bool
    detail: str
    pid: int = 0


class Runtime(Protocol):
    """A supervisor of processes on this node. Each call has a deadline, and raises Failed if it is not met.

    :param name: its name in messages.
    :param lacks: the keys below ``resources`` of a definition that it does not enforce.
    """

    name: str
    lacks: tuple[str, ...]

    def start(self, *units: Unit) -> None:
        """Start ``units``, also after each reboot."""

    def stop(self, instance: str) -> bool:
        """Stop the processes of ``instance``. Return whether a process had to be killed."""

    def stop_of(self, instance: str) -> Stop:
        """Return the Stop that ``instance`` was started with."""

    def forget(self, *instances: str) -> None:
        """Remove the stopped ``instances``. An unknown id is no error."""

    def resume(self, instance: str) -> None:
        """Start the stopped ``instance`` again."""

    def processes(self, instance: str) -> list[int]:
        """Return the pids of the processes that the supervisor started for ``instance``."""

    def states(self) -> dict[str, State]:
        """Return the state of each instance by id."""

    def logs(self, unit: Unit, lines: int, since: float | None = None, most: int = LOG) -> str:
        """Return the last ``lines`` lines that ``unit`` printed, at most ``most`` bytes.

        :param since: only lines since then, in seconds since 1970.
        """


def escaped(path: str | Path) -> str:
    """Return ``path`` as a unit file has it, in which % has a meaning."""
    return str(path).replace("%", "%%")


def whole_seconds(seconds: float) -> int:
    """Return ``seconds`` as a supervisor takes them: a whole number, and not 0, which would mean for ever."""
    return max(1, math.ceil(seconds))


def stop_of(path: Path, number: str, timeout: str) -> Stop:
    """Return the Stop that the unit file ``path`` was written with, by default the values of ``Stop()``.

    :param number: the file's key for the signal.
    :param timeout: the file's key for the seconds.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = dict(re.findall(rf"^({number}|{timeout})=(?:SIG)?([A-Z0-9]+)$", path.read_text(), re.MULTILINE))
    name = found.get(number, "")
    name = name if f"SIG{name}" in signal.Signals.__members__ else Stop().signal
    return Stop(name, float(found.get(timeout, Stop().timeout)))


def shortened(text: str | bytes, lines: int, most: int = LOG) -> str:
    """Return the last ``lines`` lines of ``text``, at most ``most`` bytes of them, with a note on each cut."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    kept: list[str] = []
    size = 0
    for line in reversed(text.splitlines()[-lines:]):
        if len(line) > LINE:
            line = f"{line[:LINE]}… ({len(line) - LINE} more characters)"
        size += len(line.encode("utf-8", "replace")) + 1
        if size > most:
            kept.append(f"… (lines before this are cut: the answer has at most {most} bytes)")
            break
        kept.append(line)
    return "\n".join(reversed(kept))
