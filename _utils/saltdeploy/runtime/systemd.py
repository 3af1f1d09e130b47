"""Instances as systemd services, sandboxed by default."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..core.errors import Failed, Refused
from ..system import probes
from ..system.files import explained, write_file
from .base import LOG, PREFIX, State, shortened, stop_of, whole_seconds

# How long systemctl and journalctl may take, in seconds. On a busy machine a reload of hundreds of units takes time.
ANSWER_DEADLINE = 60.0
# The most timeouts of a stop. systemd signals the process, then the rest of its control group. After each timeout it
# kills the processes that have not ended.
STAGES = 4

# The most attempts to start, within so many seconds.
BURST, INTERVAL = 60, 600
UNITS = Path("/etc/systemd/system")

TEMPLATE = """\
# Written by saltdeploy for instance {id}; changes are lost.
[Unit]
Description={id}
# After a reboot its address may not be there yet.
Wants=network-online.target
After=network-online.target
# An app may need something that comes later. An app that fails again and again is left stopped.
StartLimitIntervalSec={interval}
StartLimitBurst={burst}

[Service]
ExecStart="{command}"
WorkingDirectory={directory}
{user}Restart=always
RestartSec=1
KillSignal=SIG{signal}
TimeoutStopSec={stop}
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectHome=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
{limits}
[Install]
WantedBy=multi-user.target
"""


class Systemd:
    """The systemd of this machine, as root."""

    # The settings of a definition that this runtime does not enforce.
    lacks = ()
    name = "systemd"

    def __init__(self):
        if os.geteuid() != 0:
            raise Refused(
                "systemd's services are root's to make: run the minion as root, or set saltdeploy:runtime: supervisord."
            )

    @explained()
    def start(self, unit):
        """Write, enable and start ``unit``, also after each reboot."""
        path = UNITS / _name(unit.id)
        write_file(
            path,
            TEMPLATE.format(
                id=unit.id,
                command=_percent(unit.command),
                directory=_percent(unit.directory),
                user=f"User={unit.user}\n" if unit.user else "",
                signal=unit.stop.signal,
                stop=whole_seconds(unit.stop.timeout),
                burst=BURST,
                interval=INTERVAL,
                limits=_limits(unit),
            ),
        )
        _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", "--now", path.name)

    def stop_of(self, instance):
        """Return the model.Stop that ``instance`` was started with."""
        return stop_of(UNITS / _name(instance), "KillSignal", "TimeoutStopSec")

    def stop(self, instance):
        """Stop the processes of ``instance`` and return whether a process had to be killed."""
        name = _name(instance)
        if not (UNITS / name).exists():
            return False
        _systemctl("stop", name, deadline=ANSWER_DEADLINE + STAGES * self.stop_of(instance).timeout)
        result = _systemctl("show", name, "--property=Result").strip()
        return result == "Result=timeout"

    def forget(self, instance):
        """Remove the unit of the stopped ``instance``. An unknown id is no error."""
        path = UNITS / _name(instance)
        if not path.exists():
            return
        _systemctl("disable", "--quiet", path.name)
        path.unlink()
        _systemctl("daemon-reload")
        _run("systemctl", "reset-failed", path.name)

    def resume(self, instance):
        """Start ``instance`` again, as it was."""
        _run("systemctl", "reset-failed", _name(instance))
        _systemctl("start", _name(instance))

    def processes(self, instance):
        """Return the pids of the processes that systemd has started for ``instance``."""
        shown = _systemctl("show", _name(instance), "--property=MainPID").strip().partition("=")[2]
        return [int(shown)] if shown.isdigit() and int(shown) else []

    def states(self):
        """Return ``{id: State}`` of all instances."""
        show = _systemctl("show", f"{PREFIX}*.service", "--property=Description,ActiveState,SubState,NRestarts,MainPID")
        blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in show.split("\n\n") if block)
        return {b["Description"]: _state(b) for b in blocks}

    def logs(self, unit, lines, since=None, most=LOG):
        """Return the last ``lines`` lines that ``unit`` printed, at most ``most`` bytes of them.

        :param since: only lines since then, in seconds since 1970.
        """
        # The output of a process that has just ended may still be on its way.
        _run("journalctl", "--sync")
        chosen = ["--unit", _name(unit.id), "--lines", str(lines)]
        chosen += [f"--since=@{since:.0f}"] if since is not None else []
        command = ["journalctl", *chosen, "--output=cat", "--no-pager", "--quiet"]
        try:
            # A line of the journal may have megabytes, so only the end of the output is kept.
            _, printed = probes.execute(command, "/", None, "", ANSWER_DEADLINE)
        except probes.ProbeFailed as exc:
            raise Failed(str(exc)) from exc
        return shortened(printed.rstrip("\n"), lines, most)


def _name(instance):
    escaped = re.sub(r"[^A-Za-z0-9:_.-]", lambda m: f"\\x{ord(m[0]):02x}", instance)
    return f"{PREFIX}{escaped}.service"


def _limits(unit):
    """Return the limits of the app, as lines of a unit. With swap it would be slow when it should end."""
    lines = [f"MemoryMax={unit.memory}", "MemorySwapMax=0"] if unit.memory else []
    lines += [f"CPUQuota={unit.cpu}"] if unit.cpu else []
    return "".join(f"{line}\n" for line in lines)


def _percent(path):
    return str(path).replace("%", "%%")


def _state(block):
    # While systemd waits to start a unit again, the unit is "activating", and no process of it runs.
    waits = block["SubState"].startswith("auto-restart")
    ended = block["ActiveState"] == "failed" or waits or int(block["NRestarts"]) > 0
    running = block["ActiveState"] in ("active", "activating", "reloading") and not waits
    return State(running, ended, f"{block['ActiveState']} ({block['SubState']})", int(block["MainPID"]))


def _systemctl(*args, deadline=ANSWER_DEADLINE):
    done = _run("systemctl", *args, deadline=deadline)
    if done.returncode:
        raise Failed(f"systemctl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _run(*command, deadline=ANSWER_DEADLINE):
    """Run a command and return the CompletedProcess, with any exit code.

    :raises Failed: the command is missing, or does not end.
    """
    options = {"capture_output": True, "text": True, "errors": "replace", "check": False}
    try:
        return subprocess.run(command, timeout=deadline, **options)
    except subprocess.TimeoutExpired as exc:
        raise Failed(f"`{' '.join(command)}` has not ended after {deadline:g}s. See `systemctl list-jobs`.") from exc
    except OSError as exc:
        raise Failed(f"{command[0]}: {exc.strerror or exc}") from exc
