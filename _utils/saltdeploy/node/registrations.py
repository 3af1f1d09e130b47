"""Registers published instances again if their definition has changed, without a restart."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.errors import Failed
from ..core.redaction import hidden
from ..core.words import joined
from ..discovery import registration
from ..discovery.backend import Service
from ..discovery.registration import NAMED
from ..system import probes
from . import publication, readiness, registrationfiles, watching

# How much longer than its times a check may take on a busy machine, in seconds.
LATER = 2.0
if TYPE_CHECKING:
    from ..core.model import App, Instance, Probe
    from .launch import Launch
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
        launch = lifecycle.launch(app, instance)
        watched = watching.read(launch) if instance.watch else ""
        registrationfiles.keep_before(lifecycle.host, instance.id, deployment, watched)
        if watched:
            watching.write(launch)
    key, environment = lifecycle.host.key, lifecycle.environment.name
    _register(lifecycle, app, {i.id: registration.all_of(app, i, environment, key) for i in instances})


def _bring_back(lifecycle: Lifecycle, app: App, instances: Collection[Instance], deployment: str | None) -> None:
    """Register instances as they were before ``deployment``. What it did not change stays as it is."""
    before = {i: registrationfiles.before(lifecycle.host, i.id, deployment) for i in instances}
    changed = {i: found for i, found in before.items() if found is not None}
    for i, found in changed.items():
        if i.watch and found.get("watching"):
            watching.write_text(lifecycle.launch(app, i), found["watching"])
    services = {i: registrationfiles.services(found.get("services")) for i, found in changed.items()}
    known = {i.id: [replace(service, weight=i.weight) for service in some] for i, some in services.items() if some}
    _register(lifecycle, app, known)
    lost = sorted(i.id for i in changed if i.id not in known)
    if lost:
        raise Failed(
            f"the registration before was not kept, so it cannot be brought back: {', '.join(lost)}. Put the definition"
            " back, and deploy again"
        )


def _register(lifecycle: Lifecycle, app: App, registrations: Mapping[str, Collection[Service]]) -> None:
    """Register instances, ``{id: services}``, and wait until clients get them as they are now."""
    registered = lifecycle.inventory.registered(app.name)
    for instance, services in registrations.items():
        publication.register(lifecycle, instance, services)
    wanted = [service for services in registrations.values() for service in services]
    publication.await_arrival(lifecycle, wanted)
    kept = {service.id for service in wanted}
    for unwanted in (instance + NAMED for instance in registrations):
        if unwanted in registered and unwanted not in kept:
            lifecycle.discovery.withdraw(unwanted)
    publication.await_results(lifecycle, app, registrations)


def _check(lifecycle: Lifecycle, app: App, instances: Collection[Instance]) -> None:
    """Raise Failed if a check of a registration to come does not pass: clients would lose the instance."""
    problems = []
    for instance in instances:
        launch = lifecycle.launch(app, instance)
        found = [_run(check, launch) for check in registration.checks(app, instance)]
        found += _ask_discovery(lifecycle, app, instance)
        problems += [f"{instance.id}: {hidden(problem, launch.own_env)}" for problem in found if problem]
    if problems:
        raise Failed(f"a check of the new registration does not pass, so nothing is registered: {joined(problems)}")


def _run(check: Probe, launch: Launch) -> str:
    """Run a check here. Return the problem, empty if it passes or if only discovery can run it."""
    if check.kind in registration.REMOTE:
        return ""
    if check.kind == "script":
        # The watcher does not know the new script yet.
        asked = replace(check, kind="command")
        result = probes.run(asked, launch.values, launch.env, launch.unit.user)
    else:
        # Consul accepts any status of 2xx.
        result = probes.run(replace(check, status=None), launch.values)
    return "" if result["ok"] else result["detail"]


def _ask_discovery(lifecycle: Lifecycle, app: App, instance: Instance) -> list[str]:
    """Have discovery run the new checks that only it can run, under the candidate's name. Return the problems."""
    kept = [check for service in registrationfiles.kept(lifecycle.host, instance.id) for check in service.checks]
    # An instance has one check to report to. Its registration would lose it to the candidate.
    known = [*kept, *(c for c in app.checks if c.kind == "ttl" and any(k.kind == "ttl" for k in kept))]
    new = tuple(c for c in registration.checks(app, instance) if c.kind in registration.REMOTE and c not in known)
    if not new:
        return []
    candidate = replace(lifecycle.candidate(app, instance), checks=new)
    lifecycle.discovery.publish(candidate, proved=False)
    deadline = time.monotonic() + max(c.interval + c.timeout for c in new) + LATER
    try:
        while True:
            failures = list(readiness.find_failures(new, lifecycle.discovery.results(candidate.id)))
            if not failures or time.monotonic() > deadline:
                return [f"check `{failure.check.describe()}`: {failure.error}" for failure in failures]
            time.sleep(readiness.POLL)
    finally:
        lifecycle.discovery.withdraw(candidate.id)
