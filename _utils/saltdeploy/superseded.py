"""Instances that serve on a node that was away while others took their place."""

from __future__ import annotations

from . import bluegreen, restoration
from .turns import MANUAL, STATE


def ids(lifecycle, name):
    """Return the ids of app ``name`` that this node publishes, and that the record does not name.

    None while a deployment is under way, paused or frozen, and none unless clients find all that the record names, and
    some of them elsewhere. Otherwise clients may need the instances here. An instance that a person or a state started
    stays, too.
    """
    if restoration.locked(lifecycle, name):
        return []
    record, problems = restoration.record(lifecycle, name)
    if not record or problems or {"paused", "frozen"} & set(record):
        return []
    node, named = lifecycle.host.node, {(n, i) for n, some in record["nodes"].items() for i in some}
    found = {(e.minion, e.id) for e in lifecycle.discovery.instances(name, passing=True)}
    if not named <= found or {n for n, _ in named} <= {node}:
        return []
    staying = named | bluegreen.recorded(record)
    published = [i for i in lifecycle.inventory.instances(name) if i.published]
    started = [i for i in published if i.deployment not in (MANUAL, STATE)]
    return [i.id for i in started if (node, i.id) not in staying]


def retire(lifecycle, name):
    """Retire the instances that :func:`ids` finds, as a deployment would. Return their ids."""
    with lifecycle.host.turns.alone(name):
        going = ids(lifecycle, name)
        return lifecycle.retire(name, going) if going else []
