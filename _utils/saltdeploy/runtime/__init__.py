"""The only place that speaks to the supervisors of processes, systemd and supervisord."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core.errors import Refused
from .base import LOG, PREFIX, Runtime, State, Unit

__all__ = ["LOG", "PREFIX", "Runtime", "State", "Unit", "choose"]


def choose(settings: Mapping[str, Any]) -> Runtime:
    """Return the runtime of this node: the configured runtime, else systemd if it runs, else supervisord.

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
