"""The record of an app in an environment: the instances that run on each node, and the history.

Keys under ``deploy/<environment>/<app>/``: ``lock``, ``current``, ``history/<deployment>``,
and ``hooks/…`` (see hooks). ``approvals/<person>`` has the last approval of a person.
``deploy/<environment>/lock`` is the lock of a run for several apps,
and ``deploy/<environment>/.away/<node>`` marks a node that is out of use.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from . import editions, shapes, traffic
from .errors import DONE, NOT_REVERTED, REVERTED
from .instanceids import version_of

if TYPE_CHECKING:
    from .model import App

# How many entries of history are kept for an app: more than anybody looks through, few enough to be read at once.
KEPT = 50
# The most bytes of JSON in an entry: base64 adds a third, and Consul takes 512 KB at once.
LIMIT = 380_000
# The verbs that take an app to a release.
DEPLOYING = ("deploy", "publish", "promote", "abort", "rollback", "scale", "evacuate", "return")
# If an entry is too long, its texts are cut to these numbers of characters, one try after the other.
CUTS = (1000, 200, 50)
# Node -> ids of instances.
Ids = dict[str, list[str]]


# A class cannot have a field of the name ``from``.
_From = TypedDict("_From", {"from": str})


class Origin(_From):
    """The release that a pause may revert to, and how many instances of it served. ``from`` is empty for no release."""

    before: int


class _Paused(Origin):
    instances: int
    nodes: list[str]
    by: str
    reason: str
    since: float


class Paused(_Paused, total=False):
    """A deployment that waits after its first wave.

    ``instances`` and ``nodes`` are desired, ``by`` is the owner, ``since`` is in seconds since 1970. With a share of
    the traffic, it has ``canary``, and ``weights`` (release -> weight of each instance) or ``candidates``.
    """

    canary: str
    weights: dict[str, int]
    candidates: Ids
    move: bool


class _Frozen(TypedDict):
    version: str
    why: str
    by: str
    reason: str
    deployment: str
    since: float


class Frozen(_Frozen, total=False):
    """A deployment that stopped half way because a hook failed. Nothing was reverted.

    ``weights`` has release -> weight of each instance, if that is not the normal weight. ``scale`` is the number
    of desired instances, if they start with settings that were deployed before.
    """

    weights: dict[str, int]
    scale: int


class Warm(TypedDict):
    """The instances that a blue-green deployment withdrew, which run on until this time, in seconds since 1970."""

    until: float
    nodes: Ids


class _Record(TypedDict):
    version: str
    deployment: str
    time: float
    nodes: Ids


class Record(_Record, total=False):
    """The present record: the release that clients have, and its instances on each node.

    If the app keeps data, ``data`` has the nodes on which it had data. ``tolerated`` has the services that ``keep``
    left to clients. ``digests`` has release -> SHA-256 of its archive.
    """

    paused: Paused
    frozen: Frozen
    warm: Warm
    data: list[str]
    tolerated: list[str]
    digests: dict[str, str]


# The record of an app that is not deployed.
NOTHING: Record = {"version": "", "deployment": "", "time": 0.0, "nodes": {}}


class Serving(TypedDict):
    """The instances that clients find.

    ``beside`` has a sentence on each other service that clients get under the app's name. ``tolerated`` has the
    sentences of ``beside`` that an operator's ``keep`` allows. ``missing`` has the instances that clients do not find.
    """

    nodes: Ids
    beside: list[str]
    tolerated: list[str]
    missing: list[str]


class StepData(TypedDict):
    """One step of a run. ``node`` is empty if the step ended everywhere."""

    phase: str
    node: str
    what: str
    seconds: float
    ok: bool


class _Entry(TypedDict):
    version: str
    retcode: int
    owner: str
    reason: str
    began: float
    seconds: float
    why: str
    record: Record | None


class Entry(_Entry, total=False):
    """An entry of the history: the result of a verb that changed something.

    ``record`` is the record at the end, None if nobody knows it. ``left`` is the release that a rollback left.
    ``untrue`` is the difference between the exit code ``acted`` and the facts.
    """

    app: str
    environment: str
    verb: str
    deployment: str
    left: str
    plan: list[str]
    steps: list[StepData]
    warnings: list[str]
    changed: bool
    serving: Serving | None
    untrue: str
    acted: int
    outcome: str
    verdict: str


class Keys(Protocol):
    """The keys of a service discovery, as a record needs them: see discovery.Backend."""

    def read(self, key: str) -> tuple[Any, int, str | None]:
        """Return value, index and lock holder of ``key``."""

    def entries(self, prefix: str) -> Sequence[tuple[str, Any]]:
        """Return key and value of all keys under ``prefix``, in the order of their creation."""


def prefix(environment: str, app: str) -> str:
    """Return the key prefix of an app's record."""
    return f"deploy/{environment}/{app}/"


def lock_key(prefix: str) -> str:
    """Return the key of the deployment lock."""
    return f"{prefix}lock"


def environment_lock_key(environment: str) -> str:
    """Return the key of the lock of a run for several apps. No app has it, because theirs have a further part."""
    return f"deploy/{environment}/lock"


def current_key(prefix: str) -> str:
    """Return the key of the present :class:`Record`."""
    return f"{prefix}current"


def history_key(prefix: str, deployment: str = "") -> str:
    """Return the key of a deployment's history, or the prefix of all history."""
    return f"{prefix}history/{deployment}"


def away_key(environment: str, node: str = "") -> str:
    """Return the key of the mark of a node that is out of use, or the prefix of all of them.

    No app has it, because it begins with a dot.
    """
    return f"deploy/{environment}/.away/{node}"


def away(discovery: Keys, environment: str) -> dict[str, str]:
    """Return the nodes that are out of use, and why: name -> a sentence."""
    start = away_key(environment)
    found = {key.removeprefix(start): mark for key, mark in discovery.entries(start)}
    return {node: _away(node, environment, mark if isinstance(mark, dict) else {}) for node, mark in found.items()}


def _away(node: str, environment: str, mark: Mapping[str, Any]) -> str:
    reason = f", reason: {mark['reason']}" if mark.get("reason") else ""
    return (
        f"{node} is out of use ({mark.get('by', 'somebody')}{reason}): to bring it back, run salt-run deploy.return"
        f" {node} env={environment}"
    )


def approval_key(prefix: str, person: str) -> str:
    """Return the key of the last approval of a person."""
    return f"{prefix}approvals/{person}"


def settings_key(prefix: str) -> str:
    """Return the key of the highest number of settings that a run has begun to deploy."""
    return f"{prefix}settings"


def highest(discovery: Keys, prefix: str) -> int:
    """Return the highest number of settings that a run has begun to deploy, 0 if there is none.

    A run may have been killed. So a node that does not answer may have settings that neither the record nor the history
    tells of.
    """
    found = discovery.read(settings_key(prefix))[0]
    return found if type(found) is int and 0 <= found <= editions.MOST else 0


def read(discovery: Keys, prefix: str) -> tuple[Record | None, list[str]]:
    """Return the record of an app, None if there is none, and sentences on its parts that cannot be used."""
    key = current_key(prefix)
    record, problems = shapes.record(discovery.read(key)[0], _app(prefix))
    return record, [f"{key}: {problem}" for problem in problems]


def history(discovery: Keys, prefix: str) -> tuple[list[Entry], list[str]]:
    """Return the entries of an app's history that can be used, the newest first, and sentences on the others.

    The order is Consul's, because a master's clock may have been ahead.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    for key, value in reversed(discovery.entries(history_key(prefix))):
        entry, wrong = shapes.entry(value, _app(prefix))
        entries += [entry] if entry else []
        problems += [f"{key}: {problem}" for problem in wrong]
    return entries, problems


def _app(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def paused(app: str, environment: str, record: Record | None) -> str:
    """Return the sentence on a paused deployment, or an empty text if none is paused.

    :param app, environment: their names.
    """
    about = record.get("paused") if record else None
    if not record or not about:
        return ""
    reason = f", reason: {about['reason']}" if about["reason"] else ""
    gets, seconds = traffic.told(about), time.time() - about["since"]
    return (
        f"{app} {editions.told(record['version'])} is paused after its first wave{gets}, for {seconds:.0f}s, by"
        f" {about['by']}{reason}: look at it, then salt-run deploy.promote {app} env={environment}, or"
        f" salt-run deploy.abort {app} env={environment}"
    )


def settled(record: Record | None) -> str | None:
    """Return the release that clients have for good by the record, or None if a hook froze a deployment half way."""
    if not record or "frozen" in record:
        return None
    return record["paused"]["from"] if "paused" in record else record["version"]


def pauses(app: App, version: str, record: Record | None) -> bool:
    """Return whether a deployment of ``version`` of ``app`` is to pause after its first wave."""
    return app.strategy.pause > 0 and (app.recreate or version != settled(record))


def surplus(keys: list[str]) -> list[str]:
    """Return the keys to remove from the history's ``keys``, the oldest first, to make room for another entry."""
    return keys[: max(0, len(keys) + 1 - KEPT)]


def cut(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``entry`` as the history can hold it: an entry that is too long gets shorter texts, and says so."""
    fitting = dict(entry)
    for length in CUTS:
        if _size(fitting) <= LIMIT:
            return fitting
        said = f"this entry was too long: its steps and other texts are shortened to {length} characters each"
        fitting = {
            **entry,
            "steps": _shortened(entry["steps"], length),
            "plan": _shortened(entry["plan"], length),
            "warnings": [*_shortened(entry["warnings"], length), said],
            "why": _shortened(entry["why"], length),
            "verdict": _shortened(entry["verdict"], length),
        }
    if _size(fitting) <= LIMIT:
        return fitting
    said = "this entry was too long: its steps and its plan are left out"
    return {**fitting, "steps": [], "plan": [], "warnings": [said]}


def last_good(history: Iterable[Entry], current: str | None, left: Iterable[str] = ()) -> Entry | None:
    """Return the newest entry that published another release than ``current``, None if there is none.

    A release that was left by a rollback is not good until it is deployed again.

    :param history: entries, the newest first.
    :param left: releases that are being left.
    """
    others: set[str | None] = {current, *left}
    for entry in history:
        record = entry["record"]
        # A rollback from which some nodes were left out has left its release, too.
        if entry["retcode"] == NOT_REVERTED and record and not record.get("frozen"):
            others.add(entry.get("left"))
        if entry["retcode"] != DONE:
            continue
        finished = record and not _is_unfinished(record)
        if record and finished and record["nodes"] and record["version"] not in others:
            return entry
        others.add(entry.get("left"))
    return None


def since(history: Iterable[Entry], record: Record) -> tuple[float, str]:
    """Return when the edition of ``record`` came, and by which deployment.

    Later runs, for example for more instances, write a record of their own.

    :param history: entries, the newest first.
    """
    found = record["time"], record["deployment"]
    for entry in history:
        its = entry["record"]
        if entry["retcode"] != DONE or not its:
            continue
        if its["version"] != record["version"]:
            break
        found = its["time"], its["deployment"]
    return found


def known_editions(record: Record | None, history: Iterable[Entry]) -> list[str]:
    """Return all editions that a record and the history tell of, first those that were published, the newest first."""
    entries = list(history)
    found = [
        edition
        for its in (record, *(entry["record"] for entry in entries))
        if its
        for edition in (its["version"], *(version_of(i) for ids in its["nodes"].values() for i in ids))
    ]
    tried = [entry["version"] for entry in entries if editions.is_edition(entry["version"])]
    return list(dict.fromkeys([*found, *tried]))


def good(history: Iterable[Entry]) -> list[str]:
    """Return the editions that deployments published for good, the newest first.

    :param history: entries, the newest first.
    """
    done = (entry["record"] for entry in history if entry["retcode"] == DONE)
    return [record["version"] for record in done if record and record["nodes"] and not _is_unfinished(record)]


def _is_unfinished(record: Record) -> bool:
    return bool(record.get("paused") or record.get("frozen"))


def passed(history: Collection[Entry], current: str, target: str) -> tuple[list[str], list[str]]:
    """Return the reverted releases and the left releases that a rollback from ``current`` to ``target`` passes over.

    A reverted release is a release that somebody tried to deploy after ``current``, and that clients do not have.

    :param history: entries, the newest first.
    """
    reverted: list[str] = []
    left: list[str] = []
    for entry in history:
        its = _release(entry)
        # Clients also have a release that got stuck, at least in part: see :func:`running`.
        serves = entry["retcode"] == NOT_REVERTED or (entry["retcode"], its) == (DONE, current)
        if serves and entry["version"] == current:
            break
        if entry["retcode"] == REVERTED and entry.get("verb", "deploy") in DEPLOYING:
            reverted.append(entry["version"])
    for entry in history:
        if _release(entry) == target and entry["version"] == target:
            break
        left.append(entry.get("left", ""))
    others = {"", current, target}
    return [v for v in dict.fromkeys(reverted) if v not in others], [v for v in dict.fromkeys(left) if v not in others]


def running(history: Iterable[Entry], record: Record) -> str:
    """Return the release that clients have by now, at least in part: a release that got stuck, or else the record's."""
    newest = next((e for e in history if e.get("verb", "deploy") in DEPLOYING), None)
    return newest["version"] if newest and newest["retcode"] == NOT_REVERTED else record["version"]


def _release(entry: Entry) -> str | None:
    return entry["record"]["version"] if entry["record"] else None


def _size(entry: Mapping[str, Any]) -> int:
    return len(json.dumps(entry))


def _shortened(value: Any, length: int) -> Any:
    if isinstance(value, dict):
        return {k: _shortened(v, length) for k, v in value.items()}
    if isinstance(value, list):
        return [_shortened(v, length) for v in value]
    return f"{value[:length]}…" if isinstance(value, str) and len(value) > length else value
