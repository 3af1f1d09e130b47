"""The record of an app in an environment: the instances that run on each node, and the history.

Keys under ``deploy/<environment>/<app>/``: ``lock``, ``current``, ``history/<deployment>``,
and ``hooks/…`` (see hooks). ``approvals/<person>`` has the last approval of a person.
``deploy/<environment>/lock`` is the lock of a run for several apps,
and ``deploy/<environment>/.away/<node>`` marks a node that is out of use.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from . import editions, shapes, traffic
from .versions import argument

if TYPE_CHECKING:
    from .model import App

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
    left to clients. ``digests`` has release -> SHA-256 of its archive. ``absent`` has the nodes that did not answer and
    were left out, so that they owe their part.
    """

    paused: Paused
    frozen: Frozen
    warm: Warm
    data: list[str]
    tolerated: list[str]
    digests: dict[str, str]
    absent: list[str]


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


def request_key(prefix: str) -> str:
    """Return the key of the time of the last signed request that was taken, in seconds since 1970."""
    return f"{prefix}request"


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
    record, problems = shapes.record(discovery.read(key)[0], app_of(prefix))
    return record, [f"{key}: {problem}" for problem in problems]


def app_of(prefix: str) -> str:
    """Return the app whose keys begin with ``prefix``."""
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


def absent(app: str, environment: str, record: Record | None) -> str:
    """Return the sentence on the nodes that a deployment left out because they did not answer, or an empty text.

    :param app, environment: their names.
    """
    nodes = record.get("absent") if record else None
    if not record or not nodes:
        return ""
    version, target = argument(editions.release(record["version"])), ",".join(nodes)
    return (
        f"{', '.join(nodes)} did not answer when {app} {editions.told(record['version'])} was deployed, and"
        f" {'was' if len(nodes) == 1 else 'were'} left out (skip_absent). When back, run salt"
        f" {'-L ' if len(nodes) > 1 else ''}{target} state.apply,"
        f" then salt-run deploy.app {app} {version} env={environment}"
    )


def gone(record: Record | None, nodes: Collection[str]) -> dict[str, list[str]]:
    """Return the instances that the record has on other nodes than ``nodes``: node -> ids, none if only data."""
    if not record:
        return {}
    found = {node: list(ids) for node, ids in record["nodes"].items() if ids}
    return {node: found.get(node, []) for node in (*found, *record.get("data", ())) if node not in nodes}


def settled(record: Record | None) -> str | None:
    """Return the release that clients have for good by the record, or None if a hook froze a deployment half way."""
    if not record or "frozen" in record:
        return None
    return record["paused"]["from"] if "paused" in record else record["version"]


def pauses(app: App, version: str, record: Record | None) -> bool:
    """Return whether a deployment of ``version`` of ``app`` is to pause after its first wave."""
    return app.strategy.pause > 0 and (app.recreate or version != settled(record))
