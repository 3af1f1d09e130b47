"""Ends instances: deregister, drain, stop, forget. Or restarts them in place, one after the other."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..core import deadlines, names
from ..core.errors import Failed, Refused
from ..core.instanceids import slot_of
from ..core.words import joined
from . import publication, registrationfiles
from .readiness import POLL
from .turns import NOBODY

if TYPE_CHECKING:
    from ..core.model import App, Instance
    from .lifecycle import Lifecycle


def stop(
    lifecycle: Lifecycle,
    name: str,
    ids: Collection[str] | None = None,
    deployment: str | None = None,
    drain: float | None = None,
    deregister_delay: float | None = None,
    after: str | None = None,
) -> list[str]:
    """Retire instances: deregister, wait until the catalog has none of them, drain, stop, forget.

    :param ids: the instances. Only discovery may know some of them.
    :param deployment: the deployment of this step. Without ids, it ends here, and all its instances stop.
    :param drain: the most seconds to wait for open connections. None takes the strategy's value.
    :param deregister_delay: the least seconds that a published instance serves on, for clients that still have its
        address. None takes the strategy's value.
    :param after: the deployment whose steps this step reverts.
    """
    own, by = (deployment, None) if ids is None else (None, deployment)
    with lifecycle.host.turns.alone(names.app(name), by, after or own, lifecycle.patience(name)):
        return _stop(lifecycle, name, ids, own, drain, deregister_delay)


def retire(lifecycle: Lifecycle, name: str, ids: Collection[str], drain: float | None = None) -> list[str]:
    """Stop instances as :func:`stop` does, in the turn of the caller."""
    return _stop(lifecycle, name, ids, None, drain, None)


def _stop(
    lifecycle: Lifecycle,
    name: str,
    ids: Collection[str] | None,
    deployment: str | None,
    drain: float | None,
    deregister_delay: float | None,
) -> list[str]:
    strategy = lifecycle.inventory.app(name).strategy
    drain = strategy.drain if drain is None else drain
    deregister_delay = strategy.deregister_delay if deregister_delay is None else deregister_delay
    here = {i.id: i for i in lifecycle.inventory.instances(name)}
    if deployment is not None:
        ids = [i.id for i in here.values() if i.deployment == deployment]
    ids = sorted(here if ids is None else ids)
    others = [i for i in ids if i.split("_", 1)[0] != name]
    if others:
        raise Refused(
            f"no instance of {name}: {', '.join(others)}. See its instances:"
            f" salt {lifecycle.host.node} app.instances {name}"
        )
    published = publication.deregister(lifecycle, name, ids)
    # Drain all of them. An instance that another run has just withdrawn may still have clients.
    _drain(lifecycle, [here[i] for i in ids if i in here], drain, deregister_delay if published else 0)
    problems = _end(lifecycle, name, ids, here)
    # An instance that was still being tested may have become a candidate during the drain.
    publication.deregister(lifecycle, name, ids)
    if problems:
        raise Failed(joined(problems))
    if deployment not in NOBODY:
        lifecycle.host.settings.forget_of(name, deployment)
    return ids


def _end(lifecycle: Lifecycle, name: str, ids: Sequence[str], here: Mapping[str, Instance]) -> list[str]:
    """End and forget the instances ``ids``, all at once. Return the problems, in sentences.

    :param here: id -> Instance of the instances on this node.
    """

    def end(instance: str) -> tuple[str, str]:
        try:
            return lifecycle.ending.stop(instance, *_place(lifecycle, name, instance, here)), ""
        except Failed as exc:
            return "", str(exc)

    with ThreadPoolExecutor(deadlines.STOPPED_AT_ONCE) as pool:
        outcomes = dict(zip(ids, pool.map(end, ids)))
    lifecycle.warnings += [warning for warning, _ in outcomes.values() if warning]
    problems = [problem for _, problem in outcomes.values() if problem]
    return problems + _forget(lifecycle, [i for i, (_, problem) in outcomes.items() if not problem])


def _forget(lifecycle: Lifecycle, ids: Sequence[str]) -> list[str]:
    """Forget the instances ``ids``, which were stopped. Return the problems, in sentences.

    All at once is faster. If one of them cannot be forgotten, the others are.
    """
    try:
        if ids:
            lifecycle.ending.forget(*ids)
    except Failed as exc:
        return [str(exc)] if len(ids) == 1 else [problem for i in ids for problem in _forget(lifecycle, [i])]
    return []


def _place(lifecycle: Lifecycle, name: str, instance: str, here: Mapping[str, Instance]) -> tuple[str, int | None]:
    """Return address and port of an instance. The port is None if the instance has none, or has lost it."""
    seen, port = here.get(instance), slot_of(instance) if lifecycle.inventory.app(name).ports else None
    address, port = (seen.address, seen.port) if seen else (lifecycle.node.address, port)
    return address, None if port in {i.port for i in lifecycle.host.instances.recorded() if i.id != instance} else port


def _drain(lifecycle: Lifecycle, instances: Sequence[Instance], drain: float, deregister_delay: float) -> None:
    """Let clients finish. This ends when no connection is left, at the latest after ``drain`` seconds."""
    if not instances:
        return
    began = time.monotonic()
    time.sleep(min(deregister_delay, drain))
    while time.monotonic() - began < drain and any(lifecycle.host.instances.connections(i) for i in instances):
        time.sleep(POLL)


def restart(
    lifecycle: Lifecycle, name: str, ids: Collection[str] | None = None, deployment: str | None = None
) -> list[str]:
    """Withdraw, drain, restart, test and publish again, one instance after the other.

    :param deployment: the deployment of this step (see Turns.alone).
    """
    app = lifecycle.app(name)
    with lifecycle.host.turns.alone(name, deployment, patience=lifecycle.patience(name)):
        chosen = lifecycle.select(name, ids)
        for instance in chosen:
            restart_one(lifecycle, app, instance)
    return [i.id for i in chosen]


def restart_one(lifecycle: Lifecycle, app: App, instance: Instance) -> None:
    """Restart an instance as :func:`restart` does, in the turn of the caller.

    It must pass the checks that it was published with.
    """
    checks = registrationfiles.checks(lifecycle.host, instance.id)
    published = publication.deregister(lifecycle, app.name, [instance.id])
    if published:
        _drain(lifecycle, [instance], app.strategy.drain, app.strategy.deregister_delay)
    warning = lifecycle.ending.stop(instance.id, instance.address, instance.port)
    lifecycle.warnings += [warning] if warning else []
    lifecycle.runtime.resume(instance.id)
    failures = lifecycle.prove(app, instance, time.monotonic() + app.strategy.healthy_deadline, checks=checks)
    if failures:
        raise Failed(joined(failures))
    if published:
        publication.publish(lifecycle, app.name, [instance.id], as_before=True)
