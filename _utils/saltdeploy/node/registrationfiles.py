"""The registrations of this node's instances as files: as each is, and as it was before a deployment changed it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.httprequests import Request
from ..core.model import Probe
from ..definition import instancefiles
from ..discovery.backend import Service
from ..system.files import explained, write_file
from . import nodefiles

if TYPE_CHECKING:
    from .host import Host

log = logging.getLogger(__name__)


def keep(host: Host, instance: str, registered: Iterable[Service]) -> None:
    """Keep the registration of an instance, given its id. If that fails, only a revert cannot bring it back.

    :param registered: the services under which clients find it.
    """
    path = _path(host, instance, instancefiles.REGISTERED)
    try:
        write_file(path, json.dumps(list(map(asdict, registered))), 0o600)
    except OSError as exc:
        log.warning("The registration of %s was not kept: %s", instance, exc.strerror)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def kept(host: Host, instance: str) -> list[Service]:
    """Return the kept registration of an instance, given its id: its services, or none if nothing was kept."""
    return services(nodefiles.read(_path(host, instance, instancefiles.REGISTERED)))


def checks(host: Host, instance: str) -> list[Probe] | None:
    """Return the checks that an instance is registered with, given its id. None if nothing was kept."""
    return next((list(service.checks) for service in kept(host, instance) if service.id == instance), None)


def keep_before(host: Host, instance: str, deployment: str | None, watching: str) -> None:
    """Keep the registration that a step of ``deployment`` replaces, unless an earlier step of it has done so.

    :param watching: the content of the file of its watcher, empty if it has none.
    """
    path, file = (_path(host, instance, name) for name in (instancefiles.REGISTERED, instancefiles.BEFORE))
    if before(host, instance, deployment) is None:
        with explained():
            about = {"deployment": deployment, "services": nodefiles.read(path), "watching": watching}
            write_file(file, json.dumps(about), 0o600)


def before(host: Host, instance: str, deployment: str | None) -> dict[str, Any] | None:
    """Return the note on an instance's registration before ``deployment``, None if that did not replace it."""
    found = nodefiles.read(_path(host, instance, instancefiles.BEFORE))
    return found if isinstance(found, dict) and found.get("deployment") == deployment else None


def services(found: Any) -> list[Service]:
    """Return the Services that a file has. There are none if another version of saltdeploy wrote it."""
    try:
        return list(map(_service, found))
    except (KeyError, TypeError):
        return []


def _service(found: Mapping[str, Any]) -> Service:
    return Service(**{**found, "tags": tuple(found["tags"]), "checks": tuple(map(_probe, found["checks"]))})


def _probe(found: Mapping[str, Any]) -> Probe:
    return Probe(**{**found, "request": Request(**found["request"]) if found["request"] else None})


def _path(host: Host, instance: str, name: str) -> Path:
    return host.instances.folder(instance) / name
