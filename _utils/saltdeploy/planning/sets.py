"""The observed instances in named sets, and which of them a deployment keeps, and which it takes away. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import affinity
from .placement import even_out, spread_out

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..core.model import Instance
    from .model import Desired, Observed


@dataclass(frozen=True)
class Sets:
    """The observed instances in named sets. Each instance is in ``serving`` or in ``idle``.

    :param serving: instances that may serve clients.
    :param good: the part of ``serving`` that is current, is on a node of the deployment, and serves as it should.
    :param idle: instances that serve no client.
    :param dead: the part of ``idle`` that is published, and whose process died.
    :param waiting: the part of ``idle`` that is current, is on a node of the deployment, and waits for publication. Its
        files are those of the definition.
    :param warm: the part of ``idle`` that a blue-green deployment withdrew, and that can be published again as it is.
    :param reusable: the part of ``warm`` that is current, and is on a node of the deployment. Its files are those of
        the definition.
    """

    serving: tuple[Instance, ...]
    good: tuple[Instance, ...]
    idle: tuple[Instance, ...]
    dead: tuple[Instance, ...]
    waiting: tuple[Instance, ...]
    warm: tuple[Instance, ...]
    reusable: tuple[Instance, ...]


@dataclass(frozen=True)
class Change:
    """The instances that a deployment keeps, starts and takes away.

    :param kept: instances that stay as they are.
    :param again: warm instances that are published again.
    :param missing: how many instances are started, in addition to these.
    :param before: published instances that the new ones may take the place of, also after the death of their process.
    :param old: serving instances that are not kept.
    :param retired: the part of ``old`` that goes.
    :param leftovers: idle instances that are of no use, and are stopped first.
    """

    kept: tuple[Instance, ...]
    again: tuple[Instance, ...]
    missing: int
    before: tuple[Instance, ...]
    old: tuple[Instance, ...]
    retired: tuple[Instance, ...]
    leftovers: tuple[Instance, ...]


def is_serving(instance: Instance) -> bool:
    """Return whether ``instance`` may serve clients: after the death of its process, it only holds its port."""
    return instance.published and instance.running


def is_waiting(instance: Instance) -> bool:
    """Return whether ``instance`` is a candidate that is kept for publication."""
    return instance.held and instance.tested and instance.running and not instance.published


def without(instances: Iterable[Instance], others: Collection[Instance]) -> tuple[Instance, ...]:
    """Return ``instances`` without ``others``, in the same order."""
    going = set(others)
    return tuple(i for i in instances if i not in going)


def divide(desired: Desired, observed: Observed) -> Sets:
    """Return the observed instances in named sets."""
    here = set(desired.nodes)
    idle = tuple(i for i in observed.instances if not is_serving(i))
    warm = tuple(i for i in idle if (i.node, i.id) in observed.warm and i.running and i.tested and not i.published)
    warm = warm if desired.app.blue_green else ()

    def current(instances: Iterable[Instance]) -> list[Instance]:
        return [i for i in instances if desired.is_current(i) and i.node in here]

    def usable(instances: Iterable[Instance]) -> tuple[Instance, ...]:
        # Nobody reloads a candidate: it is replaced, unless it is wanted as it was tested.
        return tuple(i for i in current(instances) if desired.as_before or not i.stale)

    serving = tuple(i for i in observed.instances if is_serving(i))
    return Sets(
        serving=serving,
        good=tuple(i for i in current(serving) if i.good),
        idle=idle,
        dead=tuple(i for i in idle if i.published),
        waiting=tuple(i for i in usable(idle) if is_waiting(i)),
        warm=warm,
        reusable=usable(warm),
    )


def compare(desired: Desired, observed: Observed) -> Change:
    """Return the instances that the deployment keeps, starts and takes away."""
    sets, data = divide(desired, observed), affinity.nodes(desired, observed)
    usable = {*(sets.good if desired.publish else sets.waiting), *(sets.waiting if desired.adopt else ())}
    kept = (
        even_out(desired, observed, usable)
        if desired.even
        else spread_out(usable, desired.instances, observed.zone, data)
    )
    reusable = without(sets.reusable, kept) if desired.publish else ()
    again = spread_out(reusable, desired.instances - len(kept), observed.zone, data)
    missing = desired.instances - len(kept) - len(again)
    old = without(sets.serving, kept)
    retired = _retired(desired, old)
    # Ports are for two sets: warm instances make way for the next set that is replaced, and for nothing else.
    staying = {*kept, *(again if retired and (again or missing) else sets.warm)}
    return Change(
        kept=kept,
        again=again,
        missing=missing,
        before=tuple(i for i in (*sets.serving, *sets.dead) if not desired.keep or desired.is_current(i)),
        old=old,
        retired=retired,
        leftovers=tuple(i for i in sets.idle if i not in staying),
    )


def _retired(desired: Desired, old: tuple[Instance, ...]) -> tuple[Instance, ...]:
    """Return the instances in ``old`` to retire: none is retired before its successor is published."""
    if not desired.publish:
        return ()
    return tuple(i for i in old if desired.is_current(i) and not i.good) if desired.keep else old
