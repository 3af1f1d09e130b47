"""The record of an app in an environment: the instances that run on each node, and the history.

Keys under ``deploy/<environment>/<app>/``: ``lock``, ``current``, ``history/<deployment>``,
and ``hooks/…`` (see hooks).
"""

from __future__ import annotations

import json
import time

from . import shapes, traffic
from .errors import DONE, NOT_REVERTED, REVERTED

# How many entries of history are kept for an app: more than anybody looks through, few enough to be read at once.
KEPT = 50
# The most bytes of JSON in an entry: base64 adds a third, and Consul takes 512 KB at once.
LIMIT = 380_000
# The verbs that take an app to a release.
DEPLOYING = ("deploy", "publish", "promote", "abort", "rollback", "scale")
# If an entry is too long, its texts are cut to these numbers of characters, one try after the other.
CUTS = (1000, 200, 50)


def prefix(environment, app):
    """Return the key prefix of an app's record."""
    return f"deploy/{environment}/{app}/"


def lock_key(prefix):
    """Return the key of the deployment lock."""
    return f"{prefix}lock"


def current_key(prefix):
    """Return the key of the present record: ``{"version", "deployment", "time", "nodes": {node: [id, …]}}``.

    While a deployment is paused, the record also has ``paused``, see :func:`paused`. While it is frozen, the record has
    ``frozen``. If the app keeps data, ``data`` has the nodes on which it had data. ``tolerated`` has the services that
    ``keep`` left to clients.
    """
    return f"{prefix}current"


def history_key(prefix, deployment=""):
    """Return the key of a deployment's history, or the prefix of all history."""
    return f"{prefix}history/{deployment}"


def read(discovery, prefix):
    """Return the record of an app, None if there is none, and sentences on its parts that cannot be used."""
    key = current_key(prefix)
    record, problems = shapes.record(discovery.read(key)[0], _app(prefix))
    return record, [f"{key}: {problem}" for problem in problems]


def history(discovery, prefix):
    """Return the entries of an app's history that can be used, the newest first, and sentences on the others.

    The order is Consul's, because a master's clock may have been ahead.
    """
    entries, problems = [], []
    for key, value in reversed(discovery.entries(history_key(prefix))):
        entry, wrong = shapes.entry(value, _app(prefix))
        entries += [entry] if entry else []
        problems += [f"{key}: {problem}" for problem in wrong]
    return entries, problems


def _app(prefix):
    return prefix.rstrip("/").rpartition("/")[2]


def paused(app, environment, record):
    """Return the sentence on a paused deployment, or an empty text if none is paused.

    :param app, environment: their names.
    :param record: its ``paused`` has ``from`` (the release before), ``before`` (how many instances of it served),
        ``by``, ``reason`` and ``since``. It also has the desired ``instances`` and ``nodes``. With a share, it has
        ``canary``, and ``weights`` (release -> weight of each instance) or ``candidates`` (node -> ids).
    """
    about = (record or {}).get("paused")
    if not about:
        return ""
    reason = f", reason: {about['reason']}" if about["reason"] else ""
    gets, seconds = traffic.told(about), time.time() - about["since"]
    return (
        f"{app} {record['version']} is paused after its first wave{gets}, for {seconds:.0f}s, by"
        f" {about['by']}{reason}: look at it, then salt-run deploy.promote {app} env={environment}, or"
        f" salt-run deploy.abort {app} env={environment}"
    )


def settled(record):
    """Return the release that clients have for good by the record, or None if a hook froze a deployment half way."""
    return None if "frozen" in record else record.get("paused", {}).get("from", record.get("version"))


def pauses(app, version, record):
    """Return whether a deployment of ``version`` of ``app`` is to pause after its first wave.

    :param record: the record of the app, or None.
    """
    return app.strategy.pause > 0 and (app.recreate or version != settled(record or {}))


def surplus(keys):
    """Return the keys to remove from the history's ``keys``, the oldest first, to make room for another entry."""
    return keys[: max(0, len(keys) + 1 - KEPT)]


def cut(entry):
    """Return ``entry`` as the history can hold it: an entry that is too long gets shorter texts, and says so."""
    fitting = entry
    for length in CUTS:
        if _size(fitting) <= LIMIT:
            return fitting
        texts = {k: _shortened(entry[k], length) for k in ("steps", "plan", "warnings", "why", "verdict")}
        said = f"this entry was too long: its steps and other texts are shortened to {length} characters each"
        fitting = {**entry, **texts, "warnings": [*texts["warnings"], said]}
    if _size(fitting) > LIMIT:
        fitting.update(steps=[], plan=[], warnings=["this entry was too long: its steps and its plan are left out"])
    return fitting


def last_good(history, current, left=()):
    """Return the newest entry that published another release than ``current``, None if there is none.

    A release that was left by a rollback is not good until it is deployed again.

    :param history: entries, the newest first.
    :param left: releases that are being left.
    """
    others = {current, *left}
    for entry in history:
        record = entry["record"] or {}
        # A rollback from which some nodes were left out has left its release, too.
        if entry["retcode"] == NOT_REVERTED and record and not record.get("frozen"):
            others.add(entry.get("left"))
        if entry["retcode"] != DONE:
            continue
        unfinished = record.get("paused") or record.get("frozen")
        if record.get("nodes") and not unfinished and record["version"] not in others:
            return entry
        others.add(entry.get("left"))
    return None


def passed(history, current, target):
    """Return the reverted releases and the left releases that a rollback from ``current`` to ``target`` passes over.

    A reverted release is a release that somebody tried to deploy after ``current``, and that clients do not have.

    :param history: entries, the newest first.
    """
    reverted, left = [], []
    for entry in history:
        its = (entry["record"] or {}).get("version")
        # Clients also have a release that got stuck, at least in part: see :func:`running`.
        serves = entry["retcode"] == NOT_REVERTED or (entry["retcode"], its) == (DONE, current)
        if serves and entry["version"] == current:
            break
        if entry["retcode"] == REVERTED and entry.get("verb", "deploy") in DEPLOYING:
            reverted.append(entry["version"])
    for entry in history:
        if (entry["record"] or {}).get("version") == target and entry["version"] == target:
            break
        left.append(entry.get("left"))
    others = {None, "", current, target}
    return [v for v in dict.fromkeys(reverted) if v not in others], [v for v in dict.fromkeys(left) if v not in others]


def running(history, record):
    """Return the release that clients have by now, at least in part: a release that got stuck, or else the record's."""
    newest = next((e for e in history if e.get("verb", "deploy") in DEPLOYING), None)
    return newest["version"] if newest and newest["retcode"] == NOT_REVERTED else record["version"]


def _size(entry):
    return len(json.dumps(entry))


def _shortened(value, length):
    if isinstance(value, dict):
        return {k: _shortened(v, length) for k, v in value.items()}
    if isinstance(value, list):
        return [_shortened(v, length) for v in value]
    return f"{value[:length]}…" if isinstance(value, str) and len(value) > length else value
