"""Instances that serve on a node that was away while others took their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import bluegreen
from ..core.instanceids import version_of
from . import restoration, retirement
from .turns import MANUAL, STATE

if TYPE_CHECKING:
    from .lifecycle import Lifecycle


def find(lifecycle: Lifecycle, name: str) -> list[str]:
    """Return the ids of app ``name`` that this node publishes and that instances on other nodes have replaced.

    There are none while a deployment is under way, paused or frozen. There are none unless clients find all recorded
    instances, and some of them at another address than this node's. Otherwise clients may need the instances here. An
    instance also stays if a person, a state or the recorded deployment started it, or if the record has its release. So
    does an instance without a record here, which ``deploy.app`` replaces.
    """
    if restoration.is_locked(lifecycle, name):
        return []
    record, problems = restoration.read_record(lifecycle, name)
    if not record or problems or {"paused", "frozen"} & set(record):
        return []
    node, named = lifecycle.host.node, {(n, i) for n, some in record["nodes"].items() for i in some}
    endpoints = lifecycle.discovery.instances(name, passing=True)
    # A minion that was renamed finds its own instances under its old name, at its own address. They are not elsewhere.
    own = lifecycle.node.address
    found = {(e.minion, e.id) for e in endpoints if e.minion == node or e.address != own}
    if not named <= found or {n for n, _ in named} <= {node}:
        return []
    staying, releases = named | bluegreen.recorded(record), {version_of(i) for _, i in named}
    published = [i for i in lifecycle.inventory.instances(name) if i.published and i.recorded]
    started = [i for i in published if i.deployment not in (MANUAL, STATE, record.get("deployment"))]
    return [i.id for i in started if (node, i.id) not in staying and i.version not in releases]


def retire(lifecycle: Lifecycle, name: str) -> list[str]:
    """Retire the instances that :func:`find` finds, as a deployment would. Return their ids."""
    with lifecycle.host.turns.alone(name):
        going = find(lifecycle, name)
        return retirement.retire(lifecycle, name, going) if going else []
