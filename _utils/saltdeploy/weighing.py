"""The weights of one node's instances in discovery: changed where they are not what they are to be."""

from __future__ import annotations

from . import names, records, traffic
from .discovery import patiently


def weigh(lifecycle, name, weights, deployment=None, after=None):
    """Give what serves of app ``name`` the weights ``{id: weight}``; return the ids of those that had others.

    :param deployment: whose step this is; ``after``: whose it undoes (see Turns.alone).
    """
    with lifecycle.alone(name, deployment, after):
        wrong = _wrong(lifecycle, name, weights)
        for instance in wrong:
            lifecycle.publish(name, [instance], weights[instance])
    return wrong


def missing(lifecycle, name):
    """Return what is not as the record says, ``(ids, reason)``: as Lifecycle.missing, and what has a wrong weight."""
    ids, reason = lifecycle.missing(name)
    if reason:
        return ids, reason
    its, _ = record(lifecycle, name)
    here = (its or {}).get("nodes", {}).get(lifecycle.host.node, [])
    wrong = _wrong(lifecycle, name, {i: traffic.weight_of(its, i) for i in here})
    return [*ids, *(i for i in wrong if i not in ids)], ""


def restore(lifecycle, name, ids, after=None):
    """Bring those of ``ids`` back that do not serve, and all to the weight that the record says; return which."""
    restored = lifecycle.restore(name, ids, after)
    its, _ = record(lifecycle, name)
    weighed = weigh(lifecycle, name, {i: traffic.weight_of(its, i) for i in ids})
    return [*restored, *(i for i in weighed if i not in restored)]


def _wrong(lifecycle, name, weights):
    """Return the ids of those that serve with another weight. What does not serve has no traffic to share."""
    serving = [i for i in lifecycle.observe(name)["instances"] if i["published"] and i["running"] and i["tested"]]
    return [i["id"] for i in serving if i["weight"] != weights.get(i["id"], i["weight"])]


def record(lifecycle, name):
    """Return the record of app ``name``, None if there is none, and what of it cannot be used, as sentences."""
    prefix = records.prefix(lifecycle.environment.name, names.app(name))
    return patiently(lambda: records.read(lifecycle.discovery, prefix))
