"""Data that an app keeps on its nodes: the data stays on its node, so the instances stay, too. Pure."""

from __future__ import annotations

from ..core.errors import Refused


def nodes(desired, observed):
    """Return the nodes that have data of the app, or no nodes if the app keeps no data."""
    return observed.data if desired.app.data else {}


def recorded(desired, observed, record):
    """Return the nodes that the record names as nodes with data.

    With ``move``, the operator gave up data that is missing now.
    """
    if not desired.app.data:
        return ()
    before = () if desired.move else (record or {}).get("data", ())
    return sorted({n for n, folder in observed.data.items() if folder}.union(before))


def places(instances):
    """Return the nodes that ``instances`` are on."""
    return {i.node for i in instances}


def published(observed):
    """Return the nodes on which an instance is published, whether it still runs or not."""
    return places(i for i in observed.instances if i.published)


def empty(desired, observed, had, after, start, moves):
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
        raise Refused(
            f"{desired.app.name} had data on {', '.join(lost)}, and its data folder there is empty: a disk that is not"
            f" mounted, or a new machine. Bring the data back, or{_confirm(desired)}"
        )
    left = set(observed.data) - set(after)
    moved = [m for m in moves if m.source in observed.data and m.target in bare]
    # A successor on its own node has the data that is there: the app may have written nothing yet.
    new = {node for node in bare if left and node not in had}
    if moved or new:
        targets, sources = sorted(new | {m.target for m in moved}), sorted(left | {m.source for m in moved})
        raise Refused(
            f"{desired.app.name} would start without its data on {', '.join(targets)}: its data is on"
            f" {_listed(observed, sources)}.{_why(observed, sources, moved)} Copy the data there, or{_confirm(desired)}"
        )
    return bare


def unused(desired, observed, had, after):
    """Return the nodes of the deployment whose data no instance has after it.

    :param had: the nodes that have an instance.
    :param after: the nodes that have an instance after the deployment.
    :raises Refused: a node would lose its last instance, no instance would come to another node's data for it, and
        the operator did not confirm that.
    """
    data = set(nodes(desired, observed))
    left, reached = sorted(data & set(had) - set(after)), data & set(after) - set(had)
    if desired.publish and not desired.move and len(left) > len(reached):
        raise Refused(
            f"{desired.app.name} would leave its data on {_listed(observed, left)}: none of it would run there."
            f"{_why(observed, left)} Run as many as before, or say move=True to leave the data there, unused."
        )
    return tuple(sorted(data & {*had, *desired.nodes} - set(after)))


def _confirm(desired):
    return f" say move=True to start {desired.app.name} with an empty data folder."


def of_all(observed):
    """Say where the data of an app is, or return an empty text if there is no data."""
    return _listed(observed, sorted(observed.data))


def _listed(observed, nodes):
    return ", ".join(f"{node} ({folder})" if (folder := observed.data[node]) else node for node in nodes)


def _why(observed, nodes, moves=()):
    reasons = [observed.barred[node] for node in nodes if node in observed.barred]
    return "".join(f" {reason}." for reason in dict.fromkeys([*(m.reason for m in moves), *reasons]))
