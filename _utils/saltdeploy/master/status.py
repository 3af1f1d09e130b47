"""The state of an app in discovery and in the record, seen from the master. Only settings.py asks nodes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypedDict

from ..core import addresses, bluegreen, editions, hooks, names, records, shapes, traffic
from ..core.changes import Changes
from ..core.environment import Environment
from ..core.instanceids import version_of
from ..core.model import App
from ..discovery import registration
from . import membership
from .lock import held
from .membership import Kind, check_output, instance

if TYPE_CHECKING:
    from ..core.records import Record, Warm
    from ..discovery.backend import Backend, Endpoint
    from .membership import Stranger

    Places = Collection[tuple[str, str]]


class State(str, Enum):
    """The state of an instance, or of another service under the app's name."""

    PUBLISHED = "published"
    CANDIDATE = "candidate"
    # It is withdrawn, and can be published again at once.
    WARM = "warm"
    # It is a candidate that the record has as published.
    WITHDRAWN = "withdrawn"
    # It is in the record, but not in discovery.
    LOST = "lost"
    # It is published on a node that the environment does not have.
    OUTSIDE = "outside"
    # It is an instance of another environment.
    OTHER = "other"
    # Something else than saltdeploy has registered it.
    FOREIGN = "foreign"


STRANGERS = {Kind.OUTSIDE: State.OUTSIDE, Kind.FOREIGN: State.FOREIGN}


class Row(TypedDict):
    """An instance, or another service under the app's name.

    :param state: a value of State.
    :param notes: sentences on the difference between discovery and the record, or the environment of another instance.
    :param health: the status in discovery, empty for a lost instance.
    :param output: the beginning of the output of a check that does not pass, empty if all pass.
    :param outdated: the parts of its registration that differ from the definition: name, tags, meta, checks.
    :param settings: the settings that differ from the definition, which the nodes tell: see settings.
    :param restarts: the number of restarts by ``check_restart`` in the last hour, and the last reason. Empty if there
        was none.
    """

    id: str
    node: str
    version: str
    address: str
    state: str
    notes: list[str]
    health: str
    output: str
    outdated: list[str]
    settings: Changes
    restarts: list[Any]


def of_app(
    discovery: Backend, environment: Environment, app: App, replaced: Collection[str] = frozenset()
) -> dict[str, Any]:
    """Return the state of ``app`` in ``environment`` as plain data.

    ``instances`` and ``strangers`` are Rows. Strangers are other services under the app's name in discovery.

    :param replaced: names of Consul's nodes whose agents do not have the entries that the catalog shows.
    """
    prefix = records.prefix(environment.name, app.name)
    current, warnings = records.read(discovery, prefix)
    record = current or records.NOTHING
    holder, _, session = discovery.read(records.lock_key(prefix))
    published, strangers = membership.divide(discovery.instances(app.name), app.name, environment)
    candidates, _ = membership.divide(discovery.instances(app.candidate), app.name, environment)
    also = {(e.minion, instance(e)): e for e in discovery.instances(app.service.name)} if app.service.name else {}
    elsewhere = {(s.endpoint.minion, instance(s.endpoint)) for s in strangers}
    rows = _rows(app, environment, record, published, also, candidates, replaced, elsewhere)
    wrong = environment.broken.get(app.name, "")
    absent = records.absent(app.name, environment.name, current)
    return {
        "app": app.name,
        "defined": app.name in environment.names,
        "version": record["version"],
        "deployment": record["deployment"],
        "time": current["time"] if current else None,
        "desired": None if wrong else app.instances,
        "drift": f"its definition is wrong: {wrong}" if wrong else _drift(app, environment, current, len(published)),
        "instances": rows,
        "strangers": [_stranger(app, s, environment.name, replaced) for s in strangers],
        "lock": held(shapes.holder(holder), {"app": app.name, "environment": environment.name}) if session else "",
        "paused": records.paused(app.name, environment.name, current),
        "frozen": hooks.frozen(app.name, environment.name, current),
        "share": traffic.share(published, record["version"]) if record.get("paused") else None,
        "warm": bluegreen.told(app.name, environment.name, _warm(record, rows), time.time()),
        "warnings": [*warnings, *filter(None, [environment.clashing.get(app.name), absent])],
    }


def undefined(discovery: Backend, environment: Environment) -> list[str]:
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


def _rows(
    app: App,
    environment: Environment,
    record: Record,
    published: Collection[Endpoint],
    also: Mapping[tuple[str, str], Endpoint],
    candidates: Iterable[Endpoint],
    replaced: Collection[str],
    elsewhere: Places,
) -> list[Row]:
    """Return a row for each instance in discovery or in the record, except the strangers ``elsewhere``."""
    recorded = {(node, i) for node, ids in record["nodes"].items() for i in ids}
    warm = bluegreen.recorded(record)
    rows = [_row(app, e, State.PUBLISHED, replaced, _notes(e, record, recorded)) for e in published]
    for row, e in zip(rows, published) if app.name in environment.apps else ():
        other = also.get((e.minion, e.id))
        row["outdated"] = registration.differences_in_catalog(app, e, other, environment.name)
    serving = {(row["node"], row["id"]) for row in rows}
    for e in candidates:
        it = (e.minion, instance(e))
        withdrawn = State.WITHDRAWN if it in recorded - serving else State.CANDIDATE
        rows.append(_row(app, e, State.WARM if it in warm else withdrawn, replaced))
    there = {(row["node"], row["id"]) for row in rows}
    return rows + [_lost(node, i) for node, i in sorted(recorded - there - set(elsewhere))]


def _notes(endpoint: Endpoint, record: Record, recorded: Places) -> list[str]:
    """Return how a published instance differs from the record."""
    wanted, notes = traffic.weight_of(record, endpoint.id), []
    if endpoint.weight != wanted:
        notes.append(f"with weight {endpoint.weight} and not {wanted}")
    if (endpoint.minion, endpoint.id) not in recorded:
        notes.append("not in the record")
    return notes


def _stranger(app: App, stranger: Stranger, environment: str, replaced: Collection[str]) -> Row:
    """Return the row of a service that is no instance of the app in the environment."""
    state = STRANGERS.get(stranger.kind, State.OTHER)
    note = {
        State.OUTSIDE: f"published, on no node of {environment}",
        State.FOREIGN: "not registered by saltdeploy",
        State.OTHER: f"of environment {stranger.environment}",
    }
    return _row(app, stranger.endpoint, state, replaced, [note[state]])


def _warm(record: Record, rows: Iterable[Row]) -> Warm | None:
    """Return the record's entry on warm instances, without instances that are no longer there."""
    there = {(row["node"], row["id"]) for row in rows if row["state"] == State.WARM}
    gone: dict[str, list[str]] = {}
    for node, i in bluegreen.recorded(record) - there:
        gone.setdefault(node, []).append(i)
    return bluegreen.without(record.get("warm"), gone)


def _drift(app: App, environment: Environment, current: Record | None, published: int) -> str:
    """Return how the definition differs from the deployment, as a sentence. Empty if it does not."""
    if app.name not in environment.apps:
        return (
            f"{app.name} runs, and is not in {environment.name}: add it to its apps again, or take it away:"
            f" salt-run deploy.remove {app.name} env={environment.name} confirm=True"
        )
    if not current:
        return ""
    wrong = []
    if app.version and app.version != editions.release(current["version"]):
        wrong.append(f"release {app.version}, and {editions.told(current['version'])} is deployed")
    if app.instances != published:
        wrong.append(f"{app.instances} instance{'s' * (app.instances != 1)}, and {published} published")
    return f"the definition differs: it says {'; '.join(wrong)}" if wrong else ""


def _row(app: App, endpoint: Endpoint, state: State, replaced: Collection[str], notes: Iterable[str] = ()) -> Row:
    meta = endpoint.meta
    lost = ", but its agent does not have it" if endpoint.node in replaced else ""
    return {
        "id": instance(endpoint),
        "node": endpoint.minion,
        "version": version_of(instance(endpoint)) if names.is_instance(instance(endpoint)) else meta.get("version", ""),
        "address": addresses.join(endpoint.address, endpoint.port),
        "state": state.value,
        "notes": list(notes),
        "health": f"{endpoint.status}{lost}",
        "output": check_output(endpoint, app),
        "outdated": [],
        "settings": {},
        "restarts": [],
    }


def _lost(node: str, i: str) -> Row:
    return {
        "id": i,
        "node": node,
        "version": version_of(i),
        "address": "",
        "state": State.LOST.value,
        "notes": [],
        "health": "",
        "output": "",
        "outdated": [],
        "settings": {},
        "restarts": [],
    }
