"""The history of an app in an environment: an entry for each run that changed something. See records for its keys."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from . import editions, shapes
from .errors import DONE, NOT_REVERTED, REVERTED
from .instanceids import version_of
from .records import app_of, history_key

if TYPE_CHECKING:
    from .records import Keys, Record, Serving

# How many entries of history are kept for an app: more than anybody looks through, few enough to be read at once.
KEPT = 50
# The most bytes of JSON in an entry: base64 adds a third, and Consul takes 512 KB at once.
LIMIT = 380_000
# The verbs that take an app to a release.
DEPLOYING = ("deploy", "publish", "promote", "abort", "rollback", "scale", "evacuate", "return")
# If an entry is too long, its texts are cut to these numbers of characters, one try after the other.
CUTS = (1000, 200, 50)


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


def read(discovery: Keys, prefix: str) -> tuple[list[Entry], list[str]]:
    """Return the entries of an app's history that can be used, the newest first, and sentences on the others.

    The order is that of the service discovery, because a master's clock may have been ahead.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    for key, value in reversed(discovery.entries(history_key(prefix))):
        entry, wrong = shapes.entry(value, app_of(prefix))
        entries += [entry] if entry else []
        problems += [f"{key}: {problem}" for problem in wrong]
    return entries, problems


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
