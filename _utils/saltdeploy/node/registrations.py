"""Registers published instances again if their definition has changed, without a restart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.errors import Failed
from ..core.redaction import hidden
from ..core.words import joined
from ..discovery import registration
from ..discovery.backend import Service
from ..discovery.registration import NAMED
from ..system import probes
from . import crashes, publication, readiness, registrationfiles, watching

# The HTTP status that is a warning to Consul.
WARNING = 429
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
    launches = {i: lifecycle.launch(app, i) for i in instances}
    watched = {i: watching.read(launch) for i, launch in launches.items() if i.watch}
    for instance in instances:
        registrationfiles.keep_before(lifecycle.host, instance.id, deployment, watched.get(instance, ""))
    key, environment = lifecycle.host.key, lifecycle.environment.name
    with _all_scripts({launches[i]: (text, watching.text(launches[i])) for i, text in watched.items() if text}):
        _register(lifecycle, app, {i.id: registration.all_of(app, i, environment, key) for i in instances})


def _bring_back(lifecycle: Lifecycle, app: App, instances: Collection[Instance], deployment: str | None) -> None:
    """Register instances as they were before ``deployment``. All else stays as it is."""
    before = {i: registrationfiles.before(lifecycle.host, i.id, deployment) for i in instances}
    changed = {i: found for i, found in before.items() if found is not None}
    services = {i: registrationfiles.services(found.get("services")) for i, found in changed.items()}
    known = {i.id: [replace(service, weight=i.weight) for service in some] for i, some in services.items() if some}
    launches = {lifecycle.launch(app, i): found.get("watching") for i, found in changed.items() if i.watch}
    with _all_scripts({launch: (watching.read(launch), text) for launch, text in launches.items() if text}):
        _register(lifecycle, app, known)
    lost = sorted(i.id for i in changed if i.id not in known)
    if lost:
        raise Failed(
            f"the registration before was not kept, so it cannot be brought back: {', '.join(lost)}. Put the definition"
            " back, and deploy again"
        )


@contextlib.contextmanager
def _all_scripts(files: Mapping[Launch, tuple[str, str]]) -> Iterator[None]:
    """Have watchers run the scripts of two contents of their file meanwhile, and then those of the second only.

    Discovery may ask for a script until the other registration has arrived, and needs no disk for that.

    :param files: the launch of an instance -> the content of the file until now, and from now on.
    :raises Failed: a file cannot be written. This is raised at the end.
    """
    problems = [_write(launch, watching.joined(new, old)) for launch, (old, new) in files.items()]
    yield
    problems += [_write(launch, new) for launch, (_, new) in files.items()]
    found = list(dict.fromkeys(filter(None, problems)))
    if found:
        raise Failed(joined(found))


def _write(launch: Launch, content: str) -> str:
    """Write the file of a watcher. Return the problem, empty if all went well."""
    try:
        watching.write_text(launch, content)
    except Failed as exc:
        return str(exc)
    return ""


def _register(lifecycle: Lifecycle, app: App, registrations: Mapping[str, Collection[Service]]) -> None:
    """Register instances, ``{id: services}``, and wait until clients get them as they are now."""
    registered = lifecycle.inventory.registered(app.name)
    for instance, services in registrations.items():
        # Its process may have ended since its publication. If it ends from now on, this step is the reason.
        crashes.note(lifecycle.host, lifecycle.runtime, instance)
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
        text = watching.read(launch) if instance.watch else ""
        # Only the watcher runs a script as it runs later, in the sandbox of the instance.
        if text:
            watching.write_text(launch, watching.joined(text, watching.text(launch)))
        try:
            known = registrationfiles.checks(lifecycle.host, instance.id) or []
            found = [_run(check, launch, check in known) for check in registration.checks(app, instance)]
        finally:
            if text:
                watching.write_text(launch, text)
        found += _ask_discovery(lifecycle, app, instance)
        problems += [f"{instance.id}: {hidden(problem, launch.own_env)}" for problem in found if problem]
    if problems:
        raise Failed(f"a check of the new registration does not pass, so nothing is registered: {joined(problems)}")


def _run(check: Probe, launch: Launch, known: bool) -> str:
    """Run a check here. Return the problem, empty if it passes or if only discovery can run it.

    :param known: whether the instance is registered with it already. Then it may warn.
    """
    if check.kind in registration.REMOTE:
        return ""
    try:
        # Consul accepts any status of 2xx.
        probes.ask(replace(check, status=None), launch.values)
    except probes.ProbeFailed as exc:
        return "" if known and exc.status == WARNING else f"check `{check.describe()}`: {exc}"
    return ""


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
