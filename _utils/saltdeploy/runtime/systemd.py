"""Instances as systemd services, sandboxed by default."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import Failed, Refused
from ..core.model import Stop
from ..system import commands
from ..system.files import explained, write_file
from .base import LOG, PREFIX, State, Unit, escaped, shortened, stop_of, whole_seconds

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
{sandbox}{limits}
[Install]
WantedBy=multi-user.target
"""
SANDBOX = """\
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=full
ProtectHome=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
"""
# podman passes the signal on to the container, and the kernel kills what is left. Two signals could end it at once.
FOREGROUND = "KillMode=mixed\n"

# It comes behind the text of a package's unit, so its settings are the last, and those that count.
ADDED = """
# Added by saltdeploy for instance {id}; changes are lost.
[Unit]
Description={id}
StartLimitIntervalSec={interval}
StartLimitBurst={burst}

[Service]
EnvironmentFile={command}
Restart=always
RestartSec=1
{signal}TimeoutStopSec={stop}
{limits}
[Install]
WantedBy=multi-user.target
"""
# Where packages have their units.
PACKAGED = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))


class Systemd:
    """The systemd of this machine, as root."""

    lacks: tuple[str, ...] = ()
    name = "systemd"

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise Refused(
                "systemd's services are root's to make: run the minion as root, or set saltdeploy:runtime: supervisord."
            )

    @explained()
    def start(self, *units: Unit) -> None:
        """Write, enable and start ``units``, also after each reboot."""
        names = [self._write(unit) for unit in units]
        if names:
            # `enable` would reload systemd, too, which takes a tenth of a second.
            _systemctl("enable", "--quiet", "--no-reload", *names)
            _systemctl("daemon-reload")
            _systemctl("start", *names)

    def _write(self, unit: Unit) -> str:
        """Write the file of ``unit``, and return its name."""
        path = UNITS / _name(unit.id)
        values = {
            "id": unit.id,
            "command": escaped(unit.command),
            "directory": escaped(unit.directory),
            "user": f"User={unit.user}\n" if unit.user else "",
            "signal": unit.stop.signal,
            "stop": whole_seconds(unit.stop.timeout),
            "burst": BURST,
            "interval": INTERVAL,
            "sandbox": FOREGROUND if unit.container else SANDBOX,
            "limits": _limits(unit),
        }
        if unit.adopted:
            # The signal of the package's author ends its service well. Only another than the default is the user's.
            values["signal"] = f"KillSignal=SIG{unit.stop.signal}\n" if unit.stop.signal != Stop().signal else ""
            write_file(path, _copy(unit.adopted) + ADDED.format(**values))
        else:
            write_file(path, TEMPLATE.format(**values))
        return path.name

    def stop_of(self, instance: str) -> Stop:
        """Return the Stop that ``instance`` was started with."""
        return stop_of(UNITS / _name(instance), "KillSignal", "TimeoutStopSec")

    def stop(self, instance: str) -> bool:
        """Stop the processes of ``instance`` and return whether a process had to be killed."""
        name = _name(instance)
        if not (UNITS / name).exists():
            return False
        _systemctl("stop", name, deadline=ANSWER_DEADLINE + STAGES * self.stop_of(instance).timeout)
        result = _systemctl("show", name, "--property=Result").strip()
        return result == "Result=timeout"

    def forget(self, *instances: str) -> None:
        """Remove the units of the stopped ``instances``. An unknown id is no error."""
        names = [name for name in map(_name, instances) if (UNITS / name).exists()]
        if not names:
            return
        _systemctl("disable", "--quiet", "--no-reload", *names)
        for name in names:
            (UNITS / name).unlink()
        _systemctl("daemon-reload")
        _run("systemctl", "reset-failed", *names)

    def resume(self, instance: str) -> None:
        """Start ``instance`` again, as it was."""
        _run("systemctl", "reset-failed", _name(instance))
        _systemctl("start", _name(instance))

    def processes(self, instance: str) -> list[int]:
        """Return the pids of the processes that systemd has started for ``instance``."""
        shown = _systemctl("show", _name(instance), "--property=MainPID").strip().partition("=")[2]
        return [int(shown)] if shown.isdigit() and int(shown) else []

    def states(self) -> dict[str, State]:
        """Return ``{id: State}`` of all instances."""
        show = _systemctl("show", f"{PREFIX}*.service", "--property=Description,ActiveState,SubState,NRestarts,MainPID")
        blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in show.split("\n\n") if block)
        return {b["Description"]: _state(b) for b in blocks}

    def logs(self, unit: Unit, lines: int, since: float | None = None, most: int = LOG) -> str:
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
            _, printed = commands.execute(command, "/", None, "", ANSWER_DEADLINE)
        except commands.CommandFailed as exc:
            raise Failed(str(exc)) from exc
        return shortened(printed.rstrip("\n"), lines, most)


def _name(instance: str) -> str:
    escaped = re.sub(r"[^A-Za-z0-9:_.-]", lambda m: f"\\x{ord(m[0]):02x}", instance)
    return f"{PREFIX}{escaped}.service"


def _copy(name: str) -> str:
    """Return the text of the unit ``name`` of a package, with the administrator's drop-ins, to run as another unit.

    :raises Failed: there is none.
    """
    found = [folder / name for folder in PACKAGED if (folder / name).is_file()]
    if not found:
        raise Failed(f"no package on this node has a unit {name}.")
    return adopt(name, [path.read_text() for path in (found[0], *sorted((UNITS / f"{name}.d").glob("*.conf")))])


def adopt(name: str, texts: Sequence[str]) -> str:
    """Return the unit that ``texts`` make up, without its place at boot, and with ``name`` where it has its own name.

    :param texts: the text of the unit, and of each of its drop-ins.
    """
    kept, installs = [], False
    for line in "\n".join(texts).splitlines():
        if line.startswith("["):
            installs = line.strip() == "[Install]"
        if not installs:
            kept.append(line)
    names = {"%n": name, "%N": name.removesuffix(".service"), "%p": name.removesuffix(".service"), "%%": "%%"}
    return re.sub("%[nNp%]", lambda found: names[found[0]], "\n".join(kept)) + "\n"


def _limits(unit: Unit) -> str:
    """Return the limits of the app, as lines of a unit. With swap it would be slow when it should end."""
    lines = [f"MemoryMax={unit.memory}", "MemorySwapMax=0"] if unit.memory else []
    lines += [f"CPUQuota={unit.cpu}"] if unit.cpu else []
    return "".join(f"{line}\n" for line in lines)


def _state(block: dict[str, str]) -> State:
    # While systemd waits to start a unit again, the unit is "activating", and no process of it runs.
    waits = block["SubState"].startswith("auto-restart")
    ended = block["ActiveState"] == "failed" or waits or int(block["NRestarts"]) > 0
    running = block["ActiveState"] in ("active", "activating", "reloading") and not waits
    return State(running, ended, f"{block['ActiveState']} ({block['SubState']})", int(block["MainPID"]))


def _systemctl(*args: str, deadline: float = ANSWER_DEADLINE) -> str:
    done = _run("systemctl", *args, deadline=deadline)
    if done.returncode:
        raise Failed(f"systemctl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _run(*command: str, deadline: float = ANSWER_DEADLINE) -> subprocess.CompletedProcess[str]:
    """Run a command and return the CompletedProcess, with any exit code.

    :raises Failed: the command is missing, or does not end.
    """
    try:
        return subprocess.run(command, timeout=deadline, capture_output=True, text=True, errors="replace", check=False)
    except subprocess.TimeoutExpired as exc:
        raise Failed(f"`{' '.join(command)}` has not ended after {deadline:g}s. See `systemctl list-jobs`.") from exc
    except OSError as exc:
        raise Failed(f"{command[0]}: {exc.strerror or exc}") from exc
