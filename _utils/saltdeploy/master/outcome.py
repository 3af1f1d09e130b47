"""What a verb has led to: what clients find when it ends, and the verdict on that in words.

The record says what was meant. Only discovery says what serves.
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

# How long discovery may take to show as healthy what was so a moment ago, in seconds: a check that failed once runs
# again after its interval, which is 2 s by default.
SETTLED = 10.0
# How long discovery may take to answer at all, in seconds. A verb that met an election has waited it out before.
ANSWERS = 3.0


def look(site, wanted=frozenset(), only=""):
    """Return what clients find of the site's app, as plain data; None where discovery does not say.

    ``nodes`` has the passing instances, node -> ids, and ``beside`` a sentence on each thing that clients get and that
    is none; ``tolerated`` has those sentences that an operator's ``keep`` allows. ``missing`` has those of ``wanted``
    that clients do not find.

    :param wanted: ``(node, id)`` of instances to wait for.
    :param only: the release to wait for, until clients find no other one; empty: others may serve.
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
    """Return ``(node, id)`` of what ``serving``, or a record, has."""
    return frozenset((node, i) for node, ids in (serving or {}).get("nodes", {}).items() for i in ids)


def expected(task, code, before, record):
    """Return ``(node, id)`` of what must serve now that a task ended with ``code``.

    :param before: what served when it began, as :func:`look` has it; ``record``: what the record has by now.
    """
    if code == REVERTED:
        return places(before)
    if code == DONE and task.restarts:
        return task.restarts
    if code == DONE and task.publishes:
        return frozenset((node, i) for node, i in places(record) if version_of(i) == task.version)
    return frozenset()


def judge(task, code, serving):
    """Return what is not as the exit code ``code`` claims, as a sentence; empty if all is.

    :param serving: what :func:`look` found.
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
    """Return in words what clients find."""
    if serving is None:
        return "discovery does not say what serves now"
    counts = Counter(version_of(i) for _, i in places(serving))
    if not counts:
        return "; ".join(["nothing is published", *serving.get("beside", ())])
    parts = [f"{count} instance{'s' * (count != 1)} of {version}" for version, count in sorted(counts.items())]
    served = f"{' and '.join(parts)} on {', '.join(sorted(n for n, ids in serving['nodes'].items() if ids))}"
    return "; ".join([served, *(f"beside it {said}" for said in serving.get("beside", ()))])


def verdict(result, desired, said):
    """Return the outcome of a deployment in words a person understands at once.

    :param desired: a planner.Desired; ``said``: what is added where it succeeds.
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
        return f"{done}. Repair them, then {again} does what is left. {why}"
    if result["retcode"] == NOT_REVERTED and record:
        return f"{hooks.frozen(result['app'], where, record)}. Published are {serve}"
    if result["retcode"] == NOT_REVERTED:
        return f"{what} FAILED in {where} and is NOT wholly reverted, look now ({look_at(result)}): {why}"
    if result["retcode"] == REVERTED:
        return f"{what} was not deployed in {where}; all is as before ({serve}): {why}"
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
    """Return the outcome of an abort in words; ``paused`` is the release that was taken back."""
    if result["retcode"] != DONE:
        return verdict(result, desired, "")
    what = f"{result['app']} {paused} is taken back" if paused else f"the candidates of {result['app']} are stopped"
    return f"{what} in {result['environment']}: {running(result['serving'])}"


def look_at(result):
    """Return what to run to see what has become of an app."""
    return f"salt-run deploy.status {result['app']} env={result['environment']}"
