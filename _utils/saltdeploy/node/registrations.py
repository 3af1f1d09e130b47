"""Registers published instances again if their definition has changed, without a restart."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import deadlines
from ..core.errors import Failed
from ..core.model import DIGEST
from ..core.redaction import hidden
from ..core.words import joined
from ..discovery import registration
from ..discovery.backend import Service
from ..system import probes
from . import publication, registrationfiles

if TYPE_CHECKING:
    from ..core.model import App, Instance
    from ..discovery.backend import Endpoint
    from .lifecycle import Lifecycle


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
        registrationfiles.keep_before(lifecycle.host, instance.id, deployment)
    key, environment = lifecycle.host.key, lifecycle.environment.name
    _register(lifecycle, app, [registration.of(app, i, environment, key) for i in instances])


def _bring_back(lifecycle: Lifecycle, app: App, instances: Collection[Instance], deployment: str | None) -> None:
    """Register instances as they were before ``deployment``. What it did not change stays as it is."""
    before = {i: registrationfiles.before(lifecycle.host, i.id, deployment) for i in instances}
    changed = {i: found for i, found in before.items() if found is not None}
    services = {i: service for i, found in changed.items() if (service := registrationfiles.service(found["service"]))}
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
        publication.register(lifecycle, service)
    wanted = {(s.id, s.meta.get(DIGEST)) for s in services}

    def arrived(found: Iterable[Endpoint]) -> bool:
        return wanted <= {(e.id, e.meta.get(DIGEST)) for e in found if e.minion == lifecycle.host.node}

    if wanted and not lifecycle.discovery.wait(app.name, arrived, time.monotonic() + deadlines.CATALOG):
        which = ", ".join(sorted(s.id for s in services))
        raise Failed(f"clients do not get the new registration within {deadlines.CATALOG:g}s: {which}")
    publication.await_results(lifecycle, app, [s.id for s in services])


def _check(lifecycle: Lifecycle, app: App, instances: Collection[Instance]) -> None:
    """Raise Failed if a check of a registration to come does not pass: clients would lose the instance."""
    problems = []
    for instance in instances:
        launch = lifecycle.launch(app, instance)
        for check in registration.checks(app, instance):
            # Consul accepts any status of 2xx.
            result = probes.run(replace(check, status=None), launch.values)
            if not result["ok"]:
                problems.append(f"{instance.id}: {hidden(result['detail'], launch.own_env)}")
    if problems:
        raise Failed(f"a check of the new registration does not pass, so nothing is registered: {joined(problems)}")
