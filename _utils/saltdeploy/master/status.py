"""The state of an app in discovery and in the record, seen from the master, without asking a node."""

from __future__ import annotations

import time

from ..core import addresses, bluegreen, hooks, names, records, shapes, traffic
from ..core.model import version_of
from . import membership
from .lock import held
from .membership import Kind, instance


def of_app(discovery, environment, app, replaced=frozenset()):
    """Return the state of ``app`` in ``environment`` as plain data.

    Each instance is ``published``, ``candidate``, ``warm``, ``withdrawn`` or ``lost``. A warm instance is withdrawn,
    and can be published again at once. A withdrawn instance is a candidate that the record has as published. A lost
    instance is recorded, but not in discovery. ``strangers`` are other services under the app's name in discovery.

    :param replaced: names of Consul's nodes whose agents do not have the entries that the catalog shows.
    """
    prefix = records.prefix(environment.name, app.name)
    current, warnings = records.read(discovery, prefix)
    holder, _, session = discovery.read(records.lock_key(prefix))
    published, strangers = membership.divide(discovery.instances(app.name), app.name, environment)
    candidates, _ = membership.divide(discovery.instances(app.candidate), app.name, environment)
    elsewhere = {(s.endpoint.minion, instance(s.endpoint)) for s in strangers}
    rows, wrong = _rows(current, published, candidates, replaced, elsewhere), environment.broken.get(app.name, "")
    return {
        "app": app.name,
        "defined": app.name in environment.names,
        "version": (current or {}).get("version", ""),
        "deployment": (current or {}).get("deployment", ""),
        "time": (current or {}).get("time"),
        "desired": None if wrong else app.instances,
        "drift": f"its definition is wrong: {wrong}" if wrong else _drift(app, environment, current, len(published)),
        "instances": rows,
        "strangers": [_row(s.endpoint, _strange(s, environment.name), replaced) for s in strangers],
        "lock": held(shapes.holder(holder), {"app": app.name, "environment": environment.name}) if session else "",
        "paused": records.paused(app.name, environment.name, current),
        "frozen": hooks.frozen(app.name, environment.name, current),
        "share": traffic.share(published, current["version"]) if (current or {}).get("paused") else None,
        "warm": bluegreen.told(app.name, environment.name, _warm(current, rows), time.time()),
        "warnings": [*warnings, *filter(None, [environment.clashing.get(app.name)])],
    }


def undefined(discovery, environment):
    """Return the names of apps that run or are recorded in ``environment`` without a definition there."""
    start = records.prefix(environment.name, "").rstrip("/") + "/"
    keys = (key.removeprefix(start).split("/") for key in discovery.keys(start))
    found = {name for name, *rest in keys if rest == ["current"]}
    for name, tags in discovery.services().items():
        # An instance has its environment among its tags. Anybody may register a service of any name.
        ours = names.NAME.fullmatch(name.removesuffix("-candidate")) and environment.name in tags
        if ours and name not in environment.names:
            its = (e.meta for e in discovery.instances(name))
            found |= {m["app"] for m in its if m.get("environment") == environment.name and m.get("app")}
    return sorted(name for name in found - set(environment.names) if names.NAME.fullmatch(name))


def _rows(current, published, candidates, replaced, elsewhere):
    """Return a row for each instance in discovery or in the record, except the strangers ``elsewhere``."""
    recorded = {(node, i) for node, ids in (current or {}).get("nodes", {}).items() for i in ids}
    rows = [_row(e, _published(e, current, recorded), replaced) for e in published]
    serving = {(row["node"], row["id"]) for row in rows}
    for e in candidates:
        it = (e.minion, instance(e))
        state = "withdrawn" if it in recorded - serving else "candidate"
        rows.append(_row(e, "warm" if it in bluegreen.recorded(current) else state, replaced))
    there = {(row["node"], row["id"]) for row in rows}
    lost = {"address": "", "state": "lost", "health": ""}
    return rows + [
        {"id": i, "node": node, "version": version_of(i), **lost} for node, i in sorted(recorded - there - elsewhere)
    ]


def _published(endpoint, current, recorded):
    """Return the state of a published instance, with its weight if the record has another weight."""
    wanted = traffic.weight_of(current, endpoint.id)
    wrong = f", with weight {endpoint.weight} and not {wanted}" if endpoint.weight != wanted else ""
    return f"published{wrong}{'' if (endpoint.minion, endpoint.id) in recorded else ', not in the record'}"


def _strange(stranger, environment):
    """Return the state of a service that is no instance of the app in the environment."""
    words = {Kind.OUTSIDE: f"published, on no node of {environment}", Kind.FOREIGN: "not registered by saltdeploy"}
    return words.get(stranger.kind) or f"of environment {stranger.environment}"


def _warm(current, rows):
    """Return the record's entry on warm instances, without instances that are no longer there."""
    there = {(row["node"], row["id"]) for row in rows if row["state"] == "warm"}
    gone = {}
    for node, one in bluegreen.recorded(current) - there:
        gone.setdefault(node, []).append(one)
    return bluegreen.without((current or {}).get("warm"), gone)


def _drift(app, environment, current, published):
    """Return how the definition differs from the deployment, as a sentence. Empty if it does not."""
    if app.name not in environment.apps:
        return (
            f"{app.name} runs, and is not in {environment.name}: add it to its apps again, or take it away:"
            f" salt-run deploy.remove {app.name} env={environment.name} confirm=True"
        )
    if not current:
        return ""
    wrong = []
    if app.version and app.version != current["version"]:
        wrong.append(f"release {app.version}, and {current['version']} is deployed")
    if app.instances != published:
        wrong.append(f"{app.instances} instance{'s' * (app.instances != 1)}, and {published} published")
    return f"the definition differs: it says {'; '.join(wrong)}" if wrong else ""


def _row(endpoint, state, replaced):
    lost = ", but its agent does not have it" if endpoint.node in replaced else ""
    return {
        "id": instance(endpoint),
        "node": endpoint.minion,
        "version": endpoint.meta.get("version", ""),
        "address": addresses.join(endpoint.address, endpoint.port),
        "state": state,
        "health": f"{endpoint.status}{lost}",
    }
