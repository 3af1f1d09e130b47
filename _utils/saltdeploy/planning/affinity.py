"""Data that an app keeps on its nodes: the data stays on its node, so the instances stay, too. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import Refused
from . import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ..core.model import Instance
    from ..core.records import Record
    from .model import Desired, Move, Observed


def nodes(desired: Desired, observed: Observed) -> Mapping[str, str]:
    """Return the nodes that have data of the app, or no nodes if the app keeps no data."""
    return observed.data if desired.app.data else {}


def recorded(desired: Desired, observed: Observed, record: Record | None) -> Sequence[str]:
    """Return the nodes that the record names as nodes with data.

    With ``move``, the operator gave up data that is missing now.
    """
    if not desired.app.data:
        return ()
    before = record["data"] if record and "data" in record and not desired.move else []
    return sorted({n for n, folder in observed.data.items() if folder}.union(before))


def places(instances: Iterable[Instance]) -> set[str]:
    """Return the nodes that ``instances`` are on."""
    return {i.node for i in instances}


def published(observed: Observed) -> set[str]:
    """Return the nodes on which an instance is published, whether it still runs or not."""
    return places(i for i in observed.instances if i.published)


def empty(
    desired: Desired,
    observed: Observed,
    had: AbstractSet[str],
    after: AbstractSet[str],
    start: Iterable[str],
    moves: Iterable[Move],
) -> tuple[str, ...]:
    """Return the nodes on which an app with data starts without any data: for the first time, or in addition.

    :param had: the nodes that have an instance.
    :param after: the nodes that have an instance after the deployment.
    :param start: the nodes that start an instance.
    :raises Refused: an instance would start without data that is elsewhere, or was there, and the operator did not
        confirm that.
    """
    if not desired.app.data:
        return ()
    bare = tuple(node for node in start if node not in observed.data)
    if desired.move:
        return bare
    lost = [node for node in bare if node in observed.lost]
    if lost:
        raise Refused(explain.lost_data(desired, lost))
    left = set(observed.data) - set(after)
    moved = [m for m in moves if m.source in observed.data and m.target in bare]
    # A successor on its own node has the data that is there: the app may have written nothing yet.
    new = {node for node in bare if left and node not in had}
    if moved or new:
        raise Refused(explain.data_elsewhere(desired, observed, new, left, moved))
    return bare


def unused(desired: Desired, observed: Observed, had: AbstractSet[str], after: AbstractSet[str]) -> tuple[str, ...]:
    """Return the nodes of the deployment whose data no instance has after it.

    :param had: the nodes that have an instance.
    :param after: the nodes that have an instance after the deployment.
    :raises Refused: a node would lose its last instance, no instance would come to another node's data for it, and
        the operator did not confirm that.
    """
    data = set(nodes(desired, observed))
    left, reached = sorted(data & had - after), data & after - had
    if desired.publish and not desired.move and len(left) > len(reached):
        raise Refused(explain.data_left(desired, observed, left))
    return tuple(sorted(data & {*had, *desired.nodes} - after))
