"""The outcome of a verb: the instances that clients find in the end, and the verdict in words.

The record has the intended instances. Only discovery has the serving instances.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..core import bluegreen, editions, hooks, records
from ..core.errors import DONE, INTERRUPTS, NOT_REVERTED, REVERTED, Failed
from ..core.instanceids import version_of
from ..core.versions import argument
from ..discovery import patiently
from . import membership

if TYPE_CHECKING:
    from ..core.records import Record, Serving
    from ..discovery.backend import Endpoint
    from ..planning.model import Desired
    from .membership import Stranger
    from .verbs.appsite import Site
    from .verbs.task import Task

# How long discovery may take to show instances as healthy that were healthy a moment ago, in seconds. A check that
# failed once runs again after its interval, which is 2 s by default.
SETTLED = 10.0
# How long discovery may take to answer at all, in seconds. A verb that met an election waited it out before.
ANSWERS = 3.0


class Outcome(str, Enum):
    """The end of a run, as its result, its history entry and its last event have it."""

    DONE = "done"
    # The first wave serves, and the rest waits for the operator.
    PAUSED = "paused"
    # It is done, but for nodes that failed and that the strategy allows to fail.
    INCOMPLETE = "incomplete"
    # A hook failed after which nothing more may be changed.
    FROZEN = "frozen"
    REVERTED = "reverted"
    NOT_REVERTED = "not_reverted"
    # It ended as it should, but clients find other instances than that.
    UNTRUE = "untrue"


CODES = {Outcome.DONE: DONE, Outcome.PAUSED: DONE, Outcome.REVERTED: REVERTED}


@dataclass(frozen=True)
class Ending:
    """The end of the work of a verb.

    :param why: the reason for a failure, in sentences.
    :param record: the record at the end, None if there is none or nobody knows it.
    """

    outcome: Outcome
    record: Record | None
    why: str = ""

    @property
    def code(self) -> int:
        """The exit code, if clients find the instances that they should."""
        return CODES.get(self.outcome, NOT_REVERTED)


def of(ending: Ending, untrue: str) -> Outcome:
    """Return the outcome of a run. ``untrue`` is the difference between its ``ending`` and the facts, see judge."""
    return Outcome.UNTRUE if untrue else ending.outcome


def look(site: Site, wanted: Collection[tuple[str, str]] = frozenset(), only: str = "") -> Serving | None:
    """Return the instances of the site's app that clients find, as plain data. None if discovery does not answer.

    ``nodes`` has the passing instances, node -> ids. ``beside`` has a sentence on each other service that clients get
    under the app's name. ``tolerated`` has the sentences of ``beside`` that an operator's ``keep`` allows. ``missing``
    has the instances of ``wanted`` that clients do not find.

    :param wanted: ``(node, id)`` of instances to wait for.
    :param only: a release. Wait until clients find no other release. Empty if others may serve.
    """
    app, environment, wanted = site.app.name, site.environment, frozenset(wanted)
    ours: Sequence[Endpoint] = []
    strangers: Sequence[Stranger] = []

    def found(endpoints: Sequence[Endpoint]) -> bool:
        nonlocal ours, strangers
        ours, strangers = membership.divide(endpoints, app, environment, wanted | site.known)
        others = {version_of(e.id) for e in ours} - {only} if only else ()
        return wanted <= {(e.minion, e.id) for e in ours} and not others

    try:
        if not found(patiently(lambda: site.discovery.instances(app, passing=True), ANSWERS)):
            site.discovery.wait(app, found, time.monotonic() + SETTLED, passing=True)
    except (Failed, *INTERRUPTS):
        return None
    nodes: dict[str, list[str]] = {}
    for e in ours:
        nodes.setdefault(e.minion, []).append(e.id)
    gone = sorted(wanted - {(e.minion, e.id) for e in ours})
    return {
        "nodes": nodes,
        "beside": [membership.told(s, app, environment) for s in strangers],
        "tolerated": [membership.told(s, app, environment) for s in strangers if site.tolerates(s)],
        "missing": [f"{instance} on {node}" for node, instance in gone],
    }


def places(serving: Serving | Record | None) -> frozenset[tuple[str, str]]:
    """Return ``(node, id)`` of the instances in ``serving`` or in a record."""
    return frozenset((node, i) for node, ids in serving["nodes"].items() for i in ids) if serving else frozenset()


def expected(task: Task, ending: Ending, before: Serving | None) -> frozenset[tuple[str, str]]:
    """Return ``(node, id)`` of the instances that must serve now that a task has ended.

    :param before: the instances that served at the beginning, as :func:`look` returns them.
    """
    if ending.code == REVERTED:
        return places(before)
    if ending.code == DONE and task.restarts:
        return task.restarts
    if ending.code == DONE and task.publishes:
        return frozenset((node, i) for node, i in places(ending.record) if version_of(i) == task.version)
    return frozenset()


def judge(task: Task, code: int, serving: Serving | None) -> str:
    """Return the difference between the exit code ``code`` and the facts, as a sentence. Empty if there is none.

    :param serving: as :func:`look` returns it.
    """
    if serving is None or code not in (DONE, REVERTED):
        return ""
    if serving["missing"]:
        return f"clients do not find {', '.join(serving['missing'])}, whose checks do not pass"
    if code == DONE and task.publishes and not serving["nodes"]:
        return "clients find nothing"
    beside = [said for said in serving["beside"] if said not in serving["tolerated"]]
    if code == DONE and task.publishes and beside and not task.keep:
        return f"clients get more than that: {'; '.join(beside)}"
    others = [f"{i} on {node}" for node, i in sorted(places(serving)) if version_of(i) != task.version]
    if code == DONE and task.publishes and task.alone and others:
        return f"clients still get {', '.join(others)}"
    if code == DONE and task.removes and serving["nodes"]:
        return f"clients still get {running(serving)}"
    return ""


def running(serving: Serving | None) -> str:
    """Return the instances that clients find, in words."""
    if serving is None:
        return "discovery does not say which instances serve now"
    return "; ".join([counted(serving["nodes"]), *(f"beside it {other}" for other in serving["beside"])])


def counted(ids: Mapping[str, Collection[str]]) -> str:
    """Return the published instances ``ids``, by node, in words."""
    counts = Counter(version_of(i) for some in ids.values() for i in some)
    if not counts:
        return "nothing is published"
    parts = [
        f"{count} instance{'s' * (count != 1)} of {editions.told(version)}" for version, count in sorted(counts.items())
    ]
    return f"{' and '.join(parts)} on {', '.join(sorted(n for n, some in ids.items() if some))}"


def verdict(result: Mapping[str, Any], desired: Desired, said: str) -> str:
    """Return the outcome of a deployment in words that a person understands at once.

    :param said: a text to add if the deployment succeeds.
    """
    what, where = f"{result['app']} {editions.told(result['version'])}", result["environment"]
    why, serve = first_line(result), running(result["serving"])
    end, record = result["outcome"], result["record"]
    if end == Outcome.UNTRUE:
        how = "was deployed" if result["acted"] == DONE else "was not deployed"
        return f"{what} {how} in {where}, but {result['untrue']}. Look now ({look_at(result)}). {why}".rstrip()
    if end == Outcome.INCOMPLETE:
        done = f"{what} is published in {where}, but for nodes that failed: {serve}"
        again = f"salt-run deploy.app {result['app']} {argument(editions.release(result['version']))} env={where}"
        if desired.as_before:
            # `deploy.app` would bring in the settings of now.
            again = f"salt-run deploy.scale {result['app']} instances={desired.instances} env={where}"
        return f"{done}. Repair them, then {again} does the rest. {why}"
    if end == Outcome.FROZEN and record:
        return f"{hooks.frozen(result['app'], where, record)}. In discovery: {serve}"
    if end in (Outcome.FROZEN, Outcome.NOT_REVERTED):
        return f"{what} failed in {where} and could not be reverted completely, look now ({look_at(result)}): {why}"
    if end == Outcome.REVERTED:
        return f"{what} was not deployed in {where}, and all is as before ({serve}): {why}"
    if end == Outcome.PAUSED:
        return f"{records.paused(result['app'], where, record)}. In discovery: {serve}"
    if not desired.publish:
        candidates = f"{desired.instances} candidate{'s' * (desired.instances != 1)}"
        publish = f"salt-run deploy.publish {result['app']} env={where}"
        return f"{what} waits in {where} as {candidates}: look at it, then {publish}"
    done = "is published" if result["changed"] else "was already published, nothing was done"
    warm = bluegreen.told(result["app"], where, (record or records.NOTHING).get("warm"), time.time())
    return f"{what} {done} in {where}: {serve}{said}{warm and f'. {warm}'}"


def aborted(result: Mapping[str, Any], desired: Desired, paused: str) -> str:
    """Return the outcome of an abort in words. ``paused`` is the reverted release, empty for candidates."""
    if result["retcode"] != DONE:
        return verdict(result, desired, "")
    what = (
        f"{result['app']} {editions.told(paused)} is taken back"
        if paused
        else f"the candidates of {result['app']} are stopped"
    )
    return f"{what} in {result['environment']}: {running(result['serving'])}"


def first_line(result: Mapping[str, Any]) -> str:
    """Return the first line of the reason of a failure."""
    return result["why"].partition("\n")[0]


def look_at(result: Mapping[str, Any]) -> str:
    """Return the command that shows the state of an app."""
    return f"salt-run deploy.status {result['app']} env={result['environment']}"
