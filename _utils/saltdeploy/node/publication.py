"""Publishes this node's instances to clients, and takes them out of service discovery again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import deadlines
from ..core.errors import DiscoveryUnavailable, Refused
from ..discovery import registration
from ..discovery.registration import CANDIDATE
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
        kept = registrationfiles.kept(host, instance.id) if as_before else None
        service = kept or registration.of(app, instance, lifecycle.environment.name, host.key)
        register(lifecycle, replace(service, weight=instance.weight))
        lifecycle.discovery.withdraw(instance.id + CANDIDATE)
        host.instances.save(instance)
        crashes.note(host, lifecycle.runtime, instance.id)
    found = [i.id for i in chosen]
    await_results(lifecycle, app, found)
    return found


def register(lifecycle: Lifecycle, service: Service) -> None:
    """Register an instance for clients, and keep its registration."""
    lifecycle.discovery.publish(service)
    registrationfiles.keep(lifecycle.host, service.id, service)


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
        for service in (instance, instance + CANDIDATE):
            if service in registered:
                lifecycle.discovery.withdraw(service)
    # Without a leader the agent forgets a service and the catalog keeps it. So a second try must wait, too. Only an
    # instance that has passed its tests was ever in the catalog.
    waited_for = [i for i in ids if i in registered or here.get(i, i in strays)]
    published = {i for i in ids if i in registered}
    # A registration may be from a time when this minion had another name, or from another program.
    places = {lifecycle.node.address, *(registered[i].address for i in published)}

    def gone(found: list[Endpoint]) -> bool:
        mine = (e for e in found if e.minion == lifecycle.host.node or e.address in places)
        seen = {e.id for e in mine if e.id in waited_for}
        published.update(seen)
        return not seen

    if waited_for and not lifecycle.discovery.wait(name, gone, time.monotonic() + deadlines.CATALOG):
        raise DiscoveryUnavailable(
            f"{', '.join(sorted(published))}: still in the catalog {deadlines.CATALOG:g}s after it was withdrawn on"
            f" {lifecycle.host.node}: nothing was stopped. See `consul monitor` there."
        )
    return sorted(published)
