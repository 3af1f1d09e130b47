"""Registers published instances again if their definition has changed, without a restart."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import deadlines
from ..core.errors import Failed
from ..core.model import DIGEST, Probe, Request
from ..core.words import joined
from ..definition import instancefiles
from ..discovery import registration
from ..discovery.backend import Service
from ..system import probes
from ..system.files import explained, write_file
from . import nodefiles

if TYPE_CHECKING:
    from ..core.model import App, Instance
    from ..discovery.backend import Endpoint
    from .host import Host
    from .lifecycle import Lifecycle

log = logging.getLogger(__name__)


def keep(host: Host, instance: str, service: Service) -> None:
    """Keep the registration of an instance, given its id. If that fails, only a revert cannot bring it back."""
    path = _path(host, instance, instancefiles.REGISTERED)
    try:
        write_file(path, json.dumps(asdict(service)), 0o600)
    except OSError as exc:
        log.warning("The registration of %s was not kept: %s", instance, exc.strerror)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def kept(host: Host, instance: str) -> Service | None:
    """Return the kept registration of an instance, given its id, or None if there is none."""
    return _service(nodefiles.read(_path(host, instance, instancefiles.REGISTERED)))


def register_again(
    lifecycle: Lifecycle,
    name: str,
    ids: Collection[str] | None,
    deployment: str | None = None,
    after: str | None = None,
    back: bool = False,
    test: bool = False,
) -> list[str]:
    """Register published instances of app ``name`` as they are defined now. They run on. Return their ids.

    :param deployment: the deployment of this step.
    :param after: the deployment whose steps this step reverts.
    :param back: register them as they were before the step of ``after``.
    :param test: only run the checks of the new registration, and change nothing.
    :raises Failed: a check of a new registration does not pass, and nothing was changed; or clients do not get a new
        registration; or one cannot be brought back, because it was not kept.
    """
    app = lifecycle.app(name)
    with lifecycle.alone(name, deployment, after):
        published = lifecycle.inventory.registered(name)
        chosen = [replace(i, weight=published[i.id].weight) for i in lifecycle.select(name, ids) if i.id in published]
        if back:
            _bring_back(lifecycle, app, chosen, after)
        else:
            _check(lifecycle, app, chosen)
            if not test:
                _replace(lifecycle, app, chosen, deployment)
    return sorted(i.id for i in chosen)


def _replace(lifecycle: Lifecycle, app: App, instances: Collection[Instance], deployment: str | None) -> None:
    for instance in instances:
        _keep_before(lifecycle.host, instance.id, deployment)
    key, environment = lifecycle.host.key, lifecycle.environment.name
    _register(lifecycle, app, [registration.of(app, i, environment, key) for i in instances])


def _bring_back(lifecycle: Lifecycle, app: App, instances: Collection[Instance], deployment: str | None) -> None:
    """Register instances as they were before ``deployment``. What it did not change stays as it is."""
    before = {i: _before(lifecycle.host, i.id, deployment) for i in instances}
    changed = {i: found for i, found in before.items() if found is not None}
    services = {i: service for i, found in changed.items() if (service := _service(found["service"]))}
    _register(lifecycle, app, [replace(service, weight=i.weight) for i, service in services.items()])
    lost = sorted(i.id for i in changed if i not in services)
    if lost:
        raise Failed(
            f"the registration before was not kept, so it cannot be brought back: {', '.join(lost)}. Put the definition"
            " back, and deploy again"
        )


def _register(lifecycle: Lifecycle, app: App, services: Collection[Service]) -> None:
    """Register ``services``, and wait until clients get them as they are now."""
    for service in services:
        lifecycle.discovery.publish(service)
        keep(lifecycle.host, service.id, service)
    wanted = {(s.id, s.meta.get(DIGEST)) for s in services}

    def arrived(found: Iterable[Endpoint]) -> bool:
        return wanted <= {(e.id, e.meta.get(DIGEST)) for e in found if e.minion == lifecycle.host.node}

    if wanted and not lifecycle.discovery.wait(app.name, arrived, time.monotonic() + deadlines.CATALOG):
        which = ", ".join(sorted(s.id for s in services))
        raise Failed(f"clients do not get the new registration within {deadlines.CATALOG:g}s: {which}")
    lifecycle.await_results(app, [s.id for s in services])


def _check(lifecycle: Lifecycle, app: App, instances: Collection[Instance]) -> None:
    """Raise Failed if a check of a registration to come does not pass: clients would lose the instance."""
    problems = []
    for instance in instances:
        values = lifecycle.launch(app, instance).values
        for check in registration.checks(app, instance):
            # Consul accepts any status of 2xx.
            result = probes.run(replace(check, status=None), values)
            if not result["ok"]:
                problems.append(f"{instance.id}: {result['detail']}")
    if problems:
        raise Failed(f"a check of the new registration does not pass, so nothing is registered: {joined(problems)}")


def _keep_before(host: Host, instance: str, deployment: str | None) -> None:
    """Keep the registration that a step of ``deployment`` replaces, unless an earlier step of it has done so."""
    path, before = (_path(host, instance, name) for name in (instancefiles.REGISTERED, instancefiles.BEFORE))
    if _before(host, instance, deployment) is None:
        with explained():
            write_file(before, json.dumps({"deployment": deployment, "service": nodefiles.read(path)}), 0o600)


def _before(host: Host, instance: str, deployment: str | None) -> dict[str, Any] | None:
    """Return what is kept of an instance's registration before ``deployment``, None if that did not replace it."""
    found = nodefiles.read(_path(host, instance, instancefiles.BEFORE))
    return found if isinstance(found, dict) and found.get("deployment") == deployment else None


def _service(found: Any) -> Service | None:
    """Return the Service that a file has, or None if it has none."""
    if not isinstance(found, dict):
        return None
    return Service(**{**found, "tags": tuple(found["tags"]), "checks": tuple(map(_probe, found["checks"]))})


def _probe(found: Mapping[str, Any]) -> Probe:
    return Probe(**{**found, "request": Request(**found["request"]) if found["request"] else None})


def _path(host: Host, instance: str, name: str) -> Path:
    return host.instances.folder(instance) / name
