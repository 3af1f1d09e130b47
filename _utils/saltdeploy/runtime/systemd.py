"""Instances as systemd services, sandboxed by default."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..errors import Failed, Refused
from . import PREFIX, STOP_TIMEOUT, State

# Attempts to start, within seconds.
BURST, INTERVAL = 60, 600
UNITS = Path("/etc/systemd/system")

TEMPLATE = """\
# Written by saltdeploy for instance {id}; changes are lost.
[Unit]
Description={id}
# After a reboot its address may not be there yet.
Wants=network-online.target
After=network-online.target
# What it needs may come later than it; what fails on and on is left alone, and is for somebody to look at.
StartLimitIntervalSec={interval}
StartLimitBurst={burst}

[Service]
ExecStart="{command}"
WorkingDirectory={directory}
{user}Restart=always
RestartSec=1
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

    def __init__(self):
        if os.geteuid() != 0:
            raise Refused(
                "systemd's services are root's to make: run the minion as root, or set saltdeploy:runtime: supervisord."
            )

    def start(self, unit):
        """Write, enable and start ``unit``; it comes back after a reboot."""
        path = UNITS / _name(unit.id)
        path.write_text(
            TEMPLATE.format(
                id=unit.id,
                command=_percent(unit.command),
                directory=_percent(unit.directory),
                user=f"User={unit.user}\n" if unit.user else "",
                stop=STOP_TIMEOUT,
                burst=BURST,
                interval=INTERVAL,
                limits=_limits(unit),
            )
        )
        _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", "--now", path.name)

    def stop(self, instance):
        """Stop ``instance`` and forget it. One that is not there is no error."""
        path = UNITS / _name(instance)
        if not path.exists():
            return
        _systemctl("disable", "--quiet", "--now", path.name)
        path.unlink()
        _systemctl("daemon-reload")
        subprocess.run(["systemctl", "reset-failed", path.name], capture_output=True, check=False)

    def restart(self, instance):
        """Restart ``instance``'s process."""
        _systemctl("restart", _name(instance))

    def states(self):
        """Return ``{id: State}`` of all instances."""
        show = _systemctl("show", f"{PREFIX}*.service", "--property=Description,ActiveState,SubState,NRestarts,MainPID")
        blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in show.split("\n\n") if block)
        return {b["Description"]: _state(b) for b in blocks}

    def logs(self, unit, lines, since=None):
        """Return the last ``lines`` lines that ``unit`` printed, ``since`` then (in seconds since 1970)."""
        # What one that has just ended printed may still be on its way.
        subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
        chosen = ["--unit", _name(unit.id), "--lines", str(lines)]
        chosen += [f"--since=@{since:.0f}"] if since is not None else []
        command = ["journalctl", *chosen, "--output=cat", "--no-pager", "--quiet"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.rstrip("\n")


def _name(instance):
    escaped = re.sub(r"[^A-Za-z0-9:_.-]", lambda m: f"\\x{ord(m[0]):02x}", instance)
    return f"{PREFIX}{escaped}.service"


def _limits(unit):
    """Return what the app may use, as lines of a unit; without swap, or it would be slow where it should end."""
    lines = [f"MemoryMax={unit.memory}", "MemorySwapMax=0"] if unit.memory else []
    lines += [f"CPUQuota={unit.cpu}"] if unit.cpu else []
    return "".join(f"{line}\n" for line in lines)


def _percent(path):
    return str(path).replace("%", "%%")


def _state(block):
    ended = block["ActiveState"] == "failed" or block["SubState"] == "auto-restart" or int(block["NRestarts"]) > 0
    running = block["ActiveState"] in ("active", "activating", "reloading")
    return State(running, ended, f"{block['ActiveState']} ({block['SubState']})", int(block["MainPID"]))


def _systemctl(*args):
    done = subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"systemctl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
