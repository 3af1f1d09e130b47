"""Instances as supervisord programs, over its XML-RPC interface on a unix socket.

http://supervisord.org/api.html
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shlex
import socket
import time
import xml.parsers.expat
import xmlrpc.client
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..core.errors import Failed, Refused
from ..core.model import Stop
from ..system.files import explained, write_file
from .base import LOG, PREFIX, State, Unit, escaped, shortened, stop_of, whole_seconds

TEMPLATE = """\
; Written by saltdeploy for instance {id}; changes are lost.
[program:{program}]
command={command}
directory={directory}
{user}autostart=true
autorestart=true
startsecs=1
startretries=1000000
stopsignal={signal}
stopwaitsecs={stop}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""

# How often to ask for the state of a program that is being stopped, in seconds.
POLL = 0.02
# How long supervisord may take to answer, in seconds. It has one thread, and answers while programs stop.
ANSWER_DEADLINE = 40.0
# How much longer than its timeout a program may take to stop, in seconds. supervisord looks once a second whether a
# program must be killed, and the kernel may take some time to end it.
KILL_DEADLINE = 15.0
# How much of a log is read to find lines, as a multiple of the bytes that may be returned.
READ = 8
BAD_NAME, ALREADY_ADDED, NOT_RUNNING = 10, 90, 70
# The states in which a program stays. None means that supervisord does not know the program.
OVER = ("STOPPED", "FATAL", None)
# The errors that mean that supervisord gave no answer.
NO_ANSWER = (
    OSError,
    http.client.HTTPException,
    xmlrpc.client.ProtocolError,
    xmlrpc.client.ResponseError,
    xml.parsers.expat.ExpatError,
)


class Supervisord:
    """A running supervisord.

    :param socket_path: its ``unix_http_server`` socket.
    :param include: a folder whose ``*.conf`` it includes.
    """

    lacks: tuple[str, ...] = ("memory", "cpu")
    name = "supervisord"

    def __init__(self, socket_path: str | os.PathLike[str], include: str | os.PathLike[str]) -> None:
        self.socket_path, self.include = socket_path, Path(include)

    def start(self, *units: Unit) -> None:
        """Write and start ``units``, also after each start of supervisord."""
        for unit in units:
            self._start(unit)

    def _start(self, unit: Unit) -> None:
        if unit.adopted:
            raise Refused(f"supervisord has no unit {unit.adopted}: only systemd has. Write `run` in place of `unit`.")
        program = PREFIX + unit.id
        text = TEMPLATE.format(
            id=unit.id,
            program=program,
            command=escaped(shlex.quote(str(unit.command))),
            directory=escaped(unit.directory),
            # supervisord expands this value twice.
            log=escaped(escaped(unit.log)),
            user=f"user={unit.user}\n" if unit.user else "",
            signal=unit.stop.signal,
            stop=whole_seconds(unit.stop.timeout),
        )
        with explained():
            # supervisord would make a log that all users may read.
            os.close(os.open(unit.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640))
            unit.log.chmod(0o640)
            write_file(self._file(unit.id), text)
        self._reload()
        self._call("addProcessGroup", program, ignore=(ALREADY_ADDED,))

    def stop_of(self, instance: str) -> Stop:
        """Return the Stop that ``instance`` was started with."""
        return stop_of(self._file(instance), "stopsignal", "stopwaitsecs")

    def stop(self, instance: str) -> bool:
        """Stop the process of ``instance`` and return whether it had to be killed. An unknown id is no error.

        supervisord could wait by itself, too, but it looks only once a second.
        """
        program, timeout = PREFIX + instance, self.stop_of(instance).timeout
        began = time.monotonic()
        while True:
            # supervisord passes over a program that has just exited by itself, and starts it again a moment later.
            self._call("stopProcessGroup", program, False, ignore=(BAD_NAME, NOT_RUNNING))
            if self._info(program).get("statename") in OVER:
                break
            if time.monotonic() > began + timeout + KILL_DEADLINE:
                raise Failed(f"supervisord: {program} does not stop. See `supervisorctl status`, and its log.")
            time.sleep(POLL)
        # If a signal ended it after the timeout, that was SIGKILL. Until then it had only its stop signal.
        return time.monotonic() >= began + timeout and self._info(program).get("exitstatus") == -1

    def forget(self, *instances: str) -> None:
        """Remove the units of the stopped ``instances``. An unknown id is no error."""
        for instance in instances:
            self._call("removeProcessGroup", PREFIX + instance, ignore=(BAD_NAME,))
            self._file(instance).unlink(missing_ok=True)
        self._reload()

    def resume(self, instance: str) -> None:
        """Start ``instance`` again, as it was."""
        self._call("startProcessGroup", PREFIX + instance)

    def processes(self, instance: str) -> list[int]:
        """Return the pids of the processes that supervisord has started for ``instance``."""
        pid = self._info(PREFIX + instance).get("pid")
        return [pid] if pid else []

    def states(self) -> dict[str, State]:
        """Return ``{id: State}`` of all instances."""
        return {
            info["name"][len(PREFIX) :]: _state(info)
            for info in self._call("getAllProcessInfo")
            if info["name"].startswith(PREFIX)
        }

    def logs(self, unit: Unit, lines: int, since: float | None = None, most: int = LOG) -> str:
        """Return the last ``lines`` lines that ``unit`` printed, at most ``most`` bytes of them."""
        if since is not None:
            raise Refused("supervisord does not keep when a line was printed: say lines= in place of since=.")
        with explained(), contextlib.suppress(FileNotFoundError), unit.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - READ * most))
            return shortened(log.read(), lines, most)
        return ""

    def _info(self, program: str) -> dict[str, Any]:
        """Return the data that supervisord has of a program, empty if it has no program of this name."""
        return self._call("getProcessInfo", program, ignore=(BAD_NAME,)) or {}

    def _reload(self) -> None:
        """Have supervisord read its files again. It reads none if the folder of a log is lost, so make the folder."""
        for path in self.include.glob(f"{PREFIX}*.conf"):
            with contextlib.suppress(FileNotFoundError):  # another job has just stopped it
                logs = re.findall(r"^stdout_logfile=(.+)$", path.read_text(), re.MULTILINE)
                for log in logs:
                    Path(log.replace("%%%%", "%")).parent.mkdir(parents=True, exist_ok=True)
        self._call("reloadConfig")

    def _file(self, instance: str) -> Path:
        return self.include / f"{PREFIX}{instance}.conf"

    def _call(self, method: str, *args: object, ignore: Collection[int] = ()) -> Any:
        with xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.socket_path)) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*args)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in ignore:
                    raise Failed(f"supervisord: {method} {' '.join(map(str, args))}: {fault.faultString}") from fault
            except NO_ANSWER as exc:
                raise Failed(f"supervisord does not answer on {self.socket_path}: {exc}. Start it.") from exc
        return None


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return _UnixConnection(self.path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__("localhost", timeout=ANSWER_DEADLINE)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self.path))


def _state(info: dict[str, Any]) -> State:
    name = info["statename"]
    # In BACKOFF the program has ended, and supervisord starts it again later.
    running = name in ("STARTING", "RUNNING")
    failed = name in ("BACKOFF", "FATAL", "EXITED", "UNKNOWN")
    return State(running, failed, f"{name.lower()}{': ' + info['spawnerr'] if info['spawnerr'] else ''}", info["pid"])
