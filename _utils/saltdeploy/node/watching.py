"""The file with the scripts and checks that the watcher of an instance runs."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from ..core import placeholders, scriptchecks
from ..core.httprequests import Request
from ..core.redaction import hidden
from ..definition import instancefiles
from ..discovery import registration
from ..system import httpclient
from ..system.files import explained, write_file
from .watcher import HOUR, SHOWN

if TYPE_CHECKING:
    from pathlib import Path

    from ..core.model import CheckRestart, Probe
    from .host import Host
    from .launch import Launch
    from .lifecycle import Lifecycle

# The kinds of checks that a watcher can run.
RUN_HERE = ("http", "https", "tcp", "script")
# How much of each file is read, in characters. The environment of an instance is the largest part.
MOST = 1 << 20


def text(launch: Launch) -> str:
    """Return the content of the file. It has secrets: the environment, and the requests of checks."""
    app, instance = launch.app, launch.instance
    scripts = {
        scriptchecks.key(check): {
            "command": [placeholders.fill(word, launch.values) for word in shlex.split(check.target)],
            "timeout": check.timeout,
            "interval": check.interval,
        }
        for check in app.checks
        if check.kind == "script"
    }
    # The check of its own is not among them.
    checks = [c for c in registration.checks(app, instance) if c.kind in RUN_HERE and c.port != instance.watch]
    checks += [c for c in app.checks if c.kind == "script"]
    return json.dumps(
        {
            "folder": str(launch.release),
            "env": launch.process_env if scripts else {},
            "scripts": scripts,
            "checks": [_check(check, launch) for check in checks] if app.check_restart else [],
            "restart": _restart(app.check_restart, launch) if app.check_restart else None,
        },
        sort_keys=True,
    )


def _check(check: Probe, launch: Launch) -> dict[str, Any]:
    """Return a check as a watcher runs it."""
    request = check.request or Request()
    found: dict[str, Any] = {
        "kind": check.kind,
        "name": registration.check_name(check),
        "interval": check.interval,
        "timeout": check.timeout,
        "failures": check.failures_before_critical,
    }
    if check.kind == "script":
        return {**found, "key": scriptchecks.key(check)}
    given = {name.lower() for name in request.headers}
    usual = {"Connection": "close", "User-Agent": "saltdeploy", **({"Host": request.host} if request.host else {})}
    headers = {name: value for name, value in usual.items() if name.lower() not in given}
    return {
        **found,
        "address": launch.instance.address,
        "port": launch.instance.port,
        "path": urllib.parse.quote(check.target, safe=httpclient.IN_URL),
        "method": request.method,
        "headers": {**headers, **request.headers},
        "body": request.body,
        "redirects": request.redirects or check.request is None,
        "insecure": request.insecure,
        "server": request.host.partition(":")[0] or launch.instance.address,
        "ca": httpclient.system_ca(),
    }


def _restart(when: CheckRestart, launch: Launch) -> dict[str, Any]:
    stop = launch.app.stop
    return {
        "after": when.after,
        "grace": when.grace,
        "patience": launch.app.strategy.healthy_deadline,
        "most": when.most,
        "signal": int(signal.Signals[f"SIG{stop.signal}"]),
        "timeout": stop.timeout,
        "notes": str(launch.folder / instancefiles.RESTARTS),
    }


def joined(content: str, other: str) -> str:
    """Return ``content`` with the scripts of ``other``, too."""
    mine, others = _parsed(content), _parsed(other)
    scripts = [part.get("scripts") for part in (others, mine)]
    together = {key: script for some in scripts if isinstance(some, dict) for key, script in some.items()}
    # Without scripts there is no environment.
    return json.dumps({**mine, "scripts": together, "env": mine.get("env") or others.get("env")}, sort_keys=True)


def write(launch: Launch) -> None:
    """Write the file, and a file for the watcher's notes, which only the app's user may read.

    :raises Failed: a file cannot be written.
    """
    write_text(launch, text(launch))
    _write_notes(launch)


@explained()
def _write_notes(launch: Launch) -> None:
    notes = launch.folder / instancefiles.RESTARTS
    if not notes.exists():
        write_file(notes, "[]", 0o600, launch.owner())


@explained()
def write_text(launch: Launch, content: str) -> None:
    """Write the file with this ``content``.

    :raises Failed: it cannot be written.
    """
    write_file(_path(launch), content, 0o600, launch.owner())


def read(launch: Launch) -> str:
    """Return the content of the file, empty if it is lost. The app's user can write anything there."""
    try:
        with _path(launch).open() as file:
            return file.read(MOST)
    except (OSError, ValueError):
        return ""


def _parsed(content: str) -> dict[str, Any]:
    try:
        found = json.loads(content or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def find_restarts(lifecycle: Lifecycle, name: str) -> dict[str, list[Any]]:
    """Return id -> number of restarts and the last reason, of the instances of app ``name`` that had any lately."""
    app, host = lifecycle.inventory.app(name), lifecycle.host
    found = {i: restarts(host, i.id) for i in host.instances.recorded(name)}
    return {
        i.id: [count, hidden(reason, lifecycle.launch(app, i).own_env)] for i, (count, reason) in found.items() if count
    }


def restarts(host: Host, instance: str) -> tuple[int, str]:
    """Return how often a watcher has restarted an instance, given its id, within the last hour, and the last reason."""
    now, found = time.time(), None
    path = host.instances.folder(instance) / instancefiles.RESTARTS
    with contextlib.suppress(OSError, ValueError, RecursionError), path.open() as file:
        # The app's user can write anything there.
        found = json.loads(file.read(MOST))
    pairs = [note for note in found if isinstance(note, list) and len(note) == 2] if isinstance(found, list) else []
    recent = [(when, why) for when, why in pairs if isinstance(when, (int, float)) and now - HOUR < when <= now]
    # Salt sends only texts that are valid.
    return len(recent), str(recent[-1][1])[:SHOWN].encode(errors="replace").decode() if recent else ""


def _path(launch: Launch) -> Path:
    return launch.folder / instancefiles.WATCHING
