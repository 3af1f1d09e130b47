"""What discovery and the record say of an app: seen from the master, without asking a node."""

from __future__ import annotations

import time

from . import bluegreen, hooks, records, traffic
from .lock import held
from .model import version_of
from .services import CANDIDATE


def of_app(discovery, environment, app):
    """Return the state of ``app`` in ``environment`` as plain data.

    Each instance is ``published``, a ``candidate``, ``warm`` (withdrawn, to be published again at once), or ``lost``:
    recorded, and not in discovery.
    """
    prefix = records.prefix(environment.name, app.name)
    current, _, _ = discovery.read(records.current_key(prefix))
    holder, _, session = discovery.read(records.lock_key(prefix))
    recorded = {(node, i) for node, ids in (current or {}).get("nodes", {}).items() for i in ids}
    published = _ours(discovery, app.name, environment)
    rows = [_row(e, _published(e, current), recorded) for e in published]
    listed = {(row["node"], row["id"]) for row in rows}
    rows += [_row(e, "candidate", recorded) for e in _ours(discovery, app.candidate, environment)]
    warm = bluegreen.recorded(current)
    for row in rows:
        if row["state"] == "candidate" and (row["node"], row["id"]) in warm:
            row["state"] = "warm"
    rows += [
        {
            "id": i,
            "node": node,
            "version": version_of(i),
            "address": "",
            "state": "lost",
            "health": "",
        }
        for node, i in sorted(recorded - listed)
    ]
    wrong, drift = environment.broken.get(app.name, ""), ""
    if wrong:
        drift = f"its definition is wrong: {wrong}"
    elif current:
        drift = _drift(app, current, sum(row["state"].startswith("published") for row in rows))
    return {
        "app": app.name,
        "version": (current or {}).get("version", ""),
        "deployment": (current or {}).get("deployment", ""),
        "time": (current or {}).get("time"),
        "desired": None if wrong else app.instances,
        "drift": drift,
        "instances": rows,
        "lock": held(holder) if session else "",
        "paused": records.paused(app.name, current),
        "frozen": hooks.frozen(app.name, current),
        "share": traffic.share(published, current["version"]) if (current or {}).get("paused") else None,
        "warm": bluegreen.told(app.name, _warm(current, rows), time.time()),
    }


def _published(endpoint, current):
    """Return the state of what is published, with its weight if that is not what the record says."""
    wanted = traffic.weight_of(current, endpoint.id)
    wrong = f", with weight {endpoint.weight} and not {wanted}" if endpoint.weight != wanted else ""
    return f"published{wrong}"


def _warm(current, rows):
    """Return what the record has of what is warm, of those that are there still."""
    there = {(row["node"], row["id"]) for row in rows if row["state"] == "warm"}
    gone = {}
    for node, instance in bluegreen.recorded(current) - there:
        gone.setdefault(node, []).append(instance)
    return bluegreen.without((current or {}).get("warm"), gone)


def _drift(app, current, published):
    """Return in what the definition differs from what is deployed, as a sentence; empty if in nothing."""
    wrong = []
    if app.version and app.version != current["version"]:
        wrong.append(f"release {app.version}, and {current['version']} is deployed")
    if app.instances != published:
        wrong.append(f"{app.instances} instance{'s' * (app.instances != 1)}, and {published} published")
    return f"the definition differs: it says {'; '.join(wrong)}" if wrong else ""


def _ours(discovery, service, environment):
    return [e for e in discovery.instances(service) if e.meta.get("environment") == environment.name]


def _row(endpoint, state, recorded):
    instance = endpoint.id.removesuffix(CANDIDATE)
    unexpected = state.startswith("published") and (endpoint.minion, instance) not in recorded
    return {
        "id": instance,
        "node": endpoint.minion,
        "version": endpoint.meta.get("version", ""),
        "address": f"{endpoint.address}:{endpoint.port}" if endpoint.port else endpoint.address,
        "state": f"{state}, not in the record" if unexpected else state,
        "health": endpoint.status,
    }
