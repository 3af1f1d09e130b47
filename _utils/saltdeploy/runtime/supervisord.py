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
import xmlrpc.client
from pathlib import Path

from ..errors import Failed, Refused
from . import PREFIX, STOP_TIMEOUT, State

TEMPLATE = """\
; Written by saltdeploy for instance {id}; changes are lost.
[program:{program}]
command={command}
directory={directory}
{user}autostart=true
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs={stop}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""

# How often a program that is being stopped is asked after, in seconds.
POLL = 0.02
BAD_NAME, ALREADY_ADDED, NOT_RUNNING = 10, 90, 70


class Supervisord:
    """A running supervisord.

    :param socket_path: its ``unix_http_server`` socket.
    :param include: a folder whose ``*.conf`` it includes.
    """

    def __init__(self, socket_path, include):
        self.socket_path, self.include = socket_path, Path(include)

    def start(self, unit):
        """Write and start ``unit``; it comes back when supervisord does."""
        program = PREFIX + unit.id
        text = TEMPLATE.format(
            id=unit.id,
            program=program,
            command=_percent(shlex.quote(str(unit.command))),
            directory=_percent(unit.directory),
            # It is expanded twice.
            log=_percent(_percent(unit.log)),
            user=f"user={unit.user}\n" if unit.user else "",
            stop=STOP_TIMEOUT,
        )
        partial = self.include / f".{program}.partial"
        partial.write_text(text)
        partial.rename(self._file(unit.id))
        self._reload()
        self._call("addProcessGroup", program, ignore=(ALREADY_ADDED,))

    def stop(self, instance):
        """Stop ``instance`` and forget it. One that is not there is no error."""
        program = PREFIX + instance
        self._stop(program)
        self._call("removeProcessGroup", program, ignore=(BAD_NAME,))
        self._file(instance).unlink(missing_ok=True)
        self._reload()

    def restart(self, instance):
        """Restart ``instance``'s process."""
        program = PREFIX + instance
        self._stop(program)
        self._call("startProcessGroup", program)

    def states(self):
        """Return ``{id: State}`` of all instances."""
        return {
            info["name"][len(PREFIX) :]: _state(info)
            for info in self._call("getAllProcessInfo")
            if info["name"].startswith(PREFIX)
        }

    def logs(self, unit, lines, since=None):
        """Return the last ``lines`` lines that ``unit`` printed."""
        if since is not None:
            raise Refused("supervisord does not keep when a line was printed: say lines= in place of since=.")
        if not unit.log.exists():
            return ""
        return "\n".join(unit.log.read_text(errors="replace").splitlines()[-lines:])

    def _stop(self, program):
        """Stop a program, and wait until it has. supervisord waits by itself, too, but looks once a second only."""
        self._call("stopProcessGroup", program, False, ignore=(BAD_NAME, NOT_RUNNING))
        deadline = time.monotonic() + 3 * STOP_TIMEOUT
        while self._is_stopping(program):
            if time.monotonic() > deadline:
                raise Failed(f"supervisord: {program} does not stop. See `supervisorctl status`, and its log.")
            time.sleep(POLL)

    def _is_stopping(self, program):
        return (program, "STOPPING") in {(i["name"], i["statename"]) for i in self._call("getAllProcessInfo")}

    def _reload(self):
        """Have supervisord read its files again. It reads none where the folder of one log is lost: make it again."""
        for path in self.include.glob(f"{PREFIX}*.conf"):
            with contextlib.suppress(FileNotFoundError):  # another job has just stopped it
                logs = re.findall(r"^stdout_logfile=(.+)$", path.read_text(), re.MULTILINE)
                for log in logs:
                    Path(log.replace("%%%%", "%")).parent.mkdir(parents=True, exist_ok=True)
        self._call("reloadConfig")

    def _file(self, instance):
        return self.include / f"{PREFIX}{instance}.conf"

    def _call(self, method, *args, ignore=()):
        with xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.socket_path)) as proxy:
            try:
                return getattr(proxy.supervisor, method)(*args)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in ignore:
                    raise Failed(f"supervisord: {method} {' '.join(map(str, args))}: {fault.faultString}") from fault
            except OSError as exc:
                raise Failed(f"supervisord does not answer on {self.socket_path}: {exc}. Start it.") from exc


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def make_connection(self, host):
        return _UnixConnection(self.path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=4 * STOP_TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self.path))


def _state(info):
    name = info["statename"]
    running = name in ("STARTING", "RUNNING", "BACKOFF")
    failed = name in ("BACKOFF", "FATAL", "EXITED", "UNKNOWN")
    return State(running, failed, f"{name.lower()}{': ' + info['spawnerr'] if info['spawnerr'] else ''}")


def _percent(path):
    return str(path).replace("%", "%%")
