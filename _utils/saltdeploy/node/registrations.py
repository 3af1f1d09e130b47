"""Registers published instances again if their definition has changed, without a restart."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import Failed
from ..core.model import Probe, Request
from ..core.words import joined
from ..definition import instancefiles
from ..discovery import registration
from ..discovery.backend import Service
from ..system import probes
from ..system.files import explained, write_file
from . import nodefiles

if TYPE_CHECKING:
    from ..core.model import App, Instance
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
    :raises Failed: a check of a new registration does not pass. Nothing was changed.
    """
    app = lifecycle.app(name)
    with lifecycle.alone(name, deployment, after):
        published = lifecycle.inventory.registered(name)
        chosen = [replace(i, weight=published[i.id].weight) for i in lifecycle.select(name, ids) if i.id in published]
        if back:
            services = {i.id: service for i in chosen if (service := _before(lifecycle.host, i.id, after))}
        else:
            _check(lifecycle, app, chosen)
            key, environment = lifecycle.host.key, lifecycle.environment.name
            services = {i.id: registration.of(app, i, environment, key) for i in chosen}
        if not test:
            for instance, service in services.items():
                if not back:
                    _keep_before(lifecycle.host, instance, deployment)
                lifecycle.discovery.publish(service)
                keep(lifecycle.host, instance, service)
            lifecycle.await_results(app, list(services))
    return sorted(i.id for i in chosen)


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
    if path.exists() and (nodefiles.read(before) or {}).get("deployment") != deployment:
        with explained():
            write_file(before, json.dumps({"deployment": deployment, "service": nodefiles.read(path)}), 0o600)


def _before(host: Host, instance: str, deployment: str | None) -> Service | None:
    """Return the registration of an instance before ``deployment`` replaced it, None if it did not."""
    found = nodefiles.read(_path(host, instance, instancefiles.BEFORE))
    if not isinstance(found, dict) or found.get("deployment") != deployment:
        return None
    service = found["service"]
    return Service(**{**service, "tags": tuple(service["tags"]), "checks": tuple(map(_probe, service["checks"]))})


def _probe(found: Mapping[str, Any]) -> Probe:
    return Probe(**{**found, "request": Request(**found["request"]) if found["request"] else None})


def _path(host: Host, instance: str, name: str) -> Path:
    return host.instances.folder(instance) / name
