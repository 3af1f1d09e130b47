"""The outcome of a verb: the instances that clients find in the end, and the verdict in words.

The record has the intended instances. Only discovery has the serving instances.
"""

from __future__ import annotations

import time
from collections import Counter

from ..core import bluegreen, hooks, records
from ..core.errors import DONE, INTERRUPTS, NOT_REVERTED, REVERTED, Failed
from ..core.model import version_of
from ..core.versions import argument
from ..discovery import patiently
from . import membership

# How long discovery may take to show instances as healthy that were healthy a moment ago, in seconds. A check that
# failed once runs again after its interval, which is 2 s by default.
SETTLED = 10.0
# How long discovery may take to answer at all, in seconds. A verb that met an election waited it out before.
ANSWERS = 3.0


def look(site, wanted=frozenset(), only=""):
    """Return the instances of the site's app that clients find, as plain data. None if discovery does not answer.

    ``nodes`` has the passing instances, node -> ids. ``beside`` has a sentence on each other service that clients get
    under the app's name. ``tolerated`` has the sentences of ``beside`` that an operator's ``keep`` allows. ``missing``
    has the instances of ``wanted`` that clients do not find.

    :param wanted: ``(node, id)`` of instances to wait for.
    :param only: a release. Wait until clients find no other release. Empty if others may serve.
    """
    app, environment, seen = site.app.name, site.environment, []

    def found(endpoints):
        seen[:] = membership.divide(endpoints, app, environment, wanted | site.known)
        others = {version_of(e.id) for e in seen[0]} - {only} if only else ()
        return wanted <= {(e.minion, e.id) for e in seen[0]} and not others

    try:
        if not found(patiently(lambda: site.discovery.instances(app, passing=True), ANSWERS)):
            site.discovery.wait(app, found, time.monotonic() + SETTLED, passing=True)
    except (Failed, *INTERRUPTS):
        return None
    ours, strangers = seen
    nodes = {}
    for e in ours:
        nodes.setdefault(e.minion, []).append(e.id)
    gone = sorted(wanted - {(e.minion, e.id) for e in ours})
    return {
        "nodes": nodes,
        "beside": [membership.told(s, app, environment.name) for s in strangers],
        "tolerated": [membership.told(s, app, environment.name) for s in strangers if site.tolerates(s)],
        "missing": [f"{instance} on {node}" for node, instance in gone],
    }


def places(serving):
    """Return ``(node, id)`` of the instances in ``serving`` or in a record."""
    return frozenset((node, i) for node, ids in (serving or {}).get("nodes", {}).items() for i in ids)


def expected(task, code, before, record):
    """Return ``(node, id)`` of the instances that must serve now that a task ended with ``code``.

    :param before: the instances that served at the beginning, as :func:`look` returns them.
    :param record: the record as it is now.
    """
    if code == REVERTED:
        return places(before)
    if code == DONE and task.restarts:
        return task.restarts
    if code == DONE and task.publishes:
        return frozenset((node, i) for node, i in places(record) if version_of(i) == task.version)
    return frozenset()


def judge(task, code, serving):
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


def running(serving):
    """Return the instances that clients find, in words."""
    if serving is None:
        return "discovery does not say which instances serve now"
    counts = Counter(version_of(i) for _, i in places(serving))
    if not counts:
        return "; ".join(["nothing is published", *serving.get("beside", ())])
    parts = [f"{count} instance{'s' * (count != 1)} of {version}" for version, count in sorted(counts.items())]
    served = f"{' and '.join(parts)} on {', '.join(sorted(n for n, ids in serving['nodes'].items() if ids))}"
    return "; ".join([served, *(f"beside it {said}" for said in serving.get("beside", ()))])


def verdict(result, desired, said):
    """Return the outcome of a deployment in words that a person understands at once.

    :param desired: a planning.model.Desired.
    :param said: a text to add if the deployment succeeds.
    """
    what, where = f"{result['app']} {result['version']}", result["environment"]
    why, serve = result["why"].partition("\n")[0], running(result["serving"])
    record = result["record"] or {}
    if result["retcode"] == NOT_REVERTED and result.get("untrue"):
        how = "was deployed" if result["acted"] == DONE else "was not deployed"
        return f"{what} {how} in {where}, but {result['untrue']}. Look now ({look_at(result)}). {why}".rstrip()
    if result["retcode"] == NOT_REVERTED and record and "frozen" not in record:
        done = f"{what} is published in {where}, but for nodes that failed: {serve}"
        again = f"salt-run deploy.app {result['app']} {argument(result['version'])} env={where}"
        return f"{done}. Repair them, then {again} does the rest. {why}"
    if result["retcode"] == NOT_REVERTED and record:
        return f"{hooks.frozen(result['app'], where, record)}. Published are {serve}"
    if result["retcode"] == NOT_REVERTED:
        return f"{what} failed in {where} and could not be reverted completely, look now ({look_at(result)}): {why}"
    if result["retcode"] == REVERTED:
        return f"{what} was not deployed in {where}, and all is as before ({serve}): {why}"
    if record.get("paused") and desired.publish:
        return f"{records.paused(result['app'], where, record)}. Published are {serve}"
    if not desired.publish:
        candidates = f"{desired.instances} candidate{'s' * (desired.instances != 1)}"
        publish = f"salt-run deploy.publish {result['app']} env={where}"
        return f"{what} waits in {where} as {candidates}: look at it, then {publish}"
    done = "is published" if result["changed"] else "was already published, nothing was done"
    warm = bluegreen.told(result["app"], where, record.get("warm"), time.time())
    return f"{what} {done} in {where}: {serve}{said}{warm and f'. {warm}'}"


def aborted(result, desired, paused):
    """Return the outcome of an abort in words. ``paused`` is the reverted release, empty for candidates."""
    if result["retcode"] != DONE:
        return verdict(result, desired, "")
    what = f"{result['app']} {paused} is taken back" if paused else f"the candidates of {result['app']} are stopped"
    return f"{what} in {result['environment']}: {running(result['serving'])}"


def look_at(result):
    """Return the command that shows the state of an app."""
    return f"salt-run deploy.status {result['app']} env={result['environment']}"
