"""Publishes this node's instances to clients, and takes them out of service discovery again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import deadlines
from ..core.errors import DiscoveryUnavailable, Failed, Refused
from ..core.model import DIGEST
from ..discovery import registration
from ..discovery.registration import CANDIDATE, NAMED, instance_of
from . import crashes, registrationfiles
from .readiness import POLL

if TYPE_CHECKING:
    from ..core.model import App
    from ..discovery import Endpoint
    from ..discovery.backend import Service
    from .lifecycle import Lifecycle


def publish(
    lifecycle: Lifecycle,
    name: str,
    ids: Collection[str] | None = None,
    weight: int | None = None,
    as_before: bool = False,
) -> list[str]:
    """Register tested instances for clients. Return their ids when discovery has run all checks.

    :param weight: the weight of each instance. None keeps the present weight.
    :param as_before: register those that were published before as they were, also if the definition has changed since.
    :raises Refused: an instance is not tested, or does not run.
    """
    app, chosen, host = lifecycle.app(name), lifecycle.select(name, ids), lifecycle.host
    states = lifecycle.runtime.states()
    for instance in chosen:
        if not instance.tested:
            raise Refused(f"{instance.id} on {host.node} has not passed its tests: it is not published.")
        if instance.id not in states or not states[instance.id].running:
            raise Refused(f"{instance.id} on {host.node} does not run, so it is not published. See app.logs.")
    for instance in (replace(i, held=False, weight=weight or i.weight) for i in chosen):
        kept = registrationfiles.kept(host, instance.id) if as_before else []
        services = kept or registration.all_of(app, instance, lifecycle.environment.name, host.key)
        register(lifecycle, instance.id, [replace(service, weight=instance.weight) for service in services])
        # The master waits until clients find the instance under its app's own name.
        await_arrival(lifecycle, [service for service in services if service.id != instance.id])
        lifecycle.discovery.withdraw(instance.id + CANDIDATE)
        host.instances.save(instance)
        crashes.note(host, lifecycle.runtime, instance.id)
    found = [i.id for i in chosen]
    await_results(lifecycle, app, found)
    return found


def register(lifecycle: Lifecycle, instance: str, services: Collection[Service]) -> None:
    """Register an instance, given its id, for clients as ``services``, and keep its registration."""
    for service in services:
        lifecycle.discovery.publish(service)
    registrationfiles.keep(lifecycle.host, instance, services)


def await_arrival(lifecycle: Lifecycle, services: Collection[Service]) -> None:
    """Wait until clients get ``services`` of this node as they are now.

    Their digests are of this node only, so no other instance counts for them.

    :raises Failed: they do not get them in time.
    """
    deadline = time.monotonic() + deadlines.CATALOG
    for name in dict.fromkeys(service.name for service in services):
        wanted = {(s.id, s.meta.get(DIGEST)) for s in services if s.name == name}

        def arrived(found: list[Endpoint], wanted: set[tuple[str, str | None]] = wanted) -> bool:
            return wanted <= {(e.id, e.meta.get(DIGEST)) for e in found}

        if not lifecycle.discovery.wait(name, arrived, deadline):
            which = ", ".join(sorted(i for i, _ in wanted))
            raise Failed(f"clients do not get the new registration within {deadlines.CATALOG:g}s: {which}")


def await_results(lifecycle: Lifecycle, app: App, ids: Iterable[str]) -> None:
    """Wait until each check of ``ids`` has run. Before that, discovery shows the status of the registration.

    The wait ends after the time that the slowest check may take, also if the agent keeps no output of checks
    (``discard_check_output``).
    """
    deadline = time.monotonic() + registration.first_result(app)
    while lifecycle.discovery.unmeasured(ids) and time.monotonic() < deadline:
        time.sleep(POLL)


def withdraw(lifecycle: Lifecycle, name: str, ids: Collection[str] | None = None, held: bool = True) -> list[str]:
    """Deregister instances, which run on as candidates. Return their ids when the catalog has none of them."""
    app, chosen, host = lifecycle.app(name), lifecycle.select(name, ids), lifecycle.host
    deregister(lifecycle, name, [i.id for i in chosen])
    for instance in chosen:
        service = registration.of(app, instance, lifecycle.environment.name, host.key, candidate=True)
        lifecycle.discovery.publish(service)
    # This comes last, so that a disk that cannot be written does not keep the instances in use.
    for instance in chosen:
        host.instances.save(replace(instance, held=held))
    return [i.id for i in chosen]


def deregister(lifecycle: Lifecycle, name: str, ids: Sequence[str]) -> list[str]:
    """Deregister ``ids``. When the catalog has none of them, return the ids that clients may have used."""
    registered = lifecycle.inventory.registered(name)
    here = {i.id: i.tested for i in lifecycle.host.instances.recorded(name)}
    strays = {*lifecycle.host.instances.strays(name), *lifecycle.runtime.states()}
    for instance in ids:
        # What passes as long as another service passes goes before that service.
        for service in (instance + NAMED, instance, instance + CANDIDATE):
            if service in registered:
                lifecycle.discovery.withdraw(service)
    # Without a leader the agent forgets a service and the catalog keeps it. So a second try must wait, too. Only an
    # instance that has passed its tests was ever in the catalog.
    waited_for = [i for i in ids if i in registered or here.get(i, i in strays)]
    published = {i for i in ids if i in registered or i + NAMED in registered}
    # A registration may be from a time when this minion had another name, or from another program.
    own = [registered[s] for i in published for s in (i, i + NAMED) if s in registered]
    places = {lifecycle.node.address, *(service.address for service in own)}

    def gone(found: list[Endpoint]) -> bool:
        mine = (e for e in found if e.minion == lifecycle.host.node or e.address in places)
        seen = {i for i in (instance_of(e.id) for e in mine) if i in waited_for}
        published.update(seen)
        return not seen

    services = _names(lifecycle, name, ids, registered) if waited_for else []
    deadline = time.monotonic() + deadlines.CATALOG
    if not all(lifecycle.discovery.wait(service, gone, deadline) for service in services):
        raise DiscoveryUnavailable(
            f"{', '.join(sorted(published))}: still in the catalog {deadlines.CATALOG:g}s after it was withdrawn on"
            f" {lifecycle.host.node}: nothing was stopped. See `{lifecycle.discovery.wording.log}` there."
        )
    return sorted(published)


def _names(lifecycle: Lifecycle, name: str, ids: Iterable[str], registered: Mapping[str, Endpoint]) -> list[str]:
    """Return the names of the services under which clients may find ``ids`` of app ``name``."""
    also = {registered[i + NAMED].name for i in ids if i + NAMED in registered}
    # In a second try the agent has forgotten a service that the catalog may still have.
    kept = {service.name for i in ids for service in registrationfiles.kept(lifecycle.host, i)}
    return [name, *sorted((also | kept) - {name})]
