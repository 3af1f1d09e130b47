"""Whether users find instances, and go on finding them."""

from __future__ import annotations

import time

from .errors import Failed
from .jobs import ids_by_node
from .planner import listed
from .services import CANDIDATE

# How long discovery is waited for to have what is warm as healthy, in seconds: it was so all the time.
SEEN = 10.0


def still(journal, discovery, app, instances):
    """Make sure that the checks of unpublished ``instances``, which ran before, pass in discovery.

    :raises Failed: naming those whose do not, and what to do.
    """
    if not instances:
        return
    began, ids = time.monotonic(), ids_by_node(instances)
    wanted = {(i.node, i.id) for i in instances}
    journal.begin("healthy", sorted(ids))

    def missing(found):
        return wanted - {(e.minion, e.id.removesuffix(CANDIDATE)) for e in found}

    passed = discovery.wait(app.candidate, lambda found: not missing(found), began + SEEN, passing=True)
    sick = set() if passed else missing(discovery.instances(app.candidate, passing=True)) or wanted
    problem = _not_warm(app, sick) if sick else ""
    journal.add("healthy", "", problem or f"warm: {listed(ids)}", time.monotonic() - began, passed)
    if problem:
        raise Failed(problem)


def _not_warm(app, sick):
    which = ", ".join(f"{i} on {node}" for node, i in sorted(sick))
    how = "; ".join(f"salt {node} app.stop {app.name} instances='[{i}]'" for node, i in sorted(sick))
    return f"kept warm, and not healthy in discovery: {which}. To have it started anew, stop it ({how}), then try again"


def wait(journal, discovery, app, ids, until):
    """Block until discovery has all of ``ids`` as passing, and until they have stayed so for min_healthy.

    :param ids: node -> ids of instances.
    :param until: :func:`time.monotonic` time at which to give up, if ``healthy_deadline`` is not over before.
    :raises Failed: naming those that are not healthy.
    """
    began = time.monotonic()
    wanted = {(node, i) for node, some in ids.items() for i in some}
    journal.begin("healthy", sorted(ids))
    problem = _unhealthy(discovery, app, wanted, min(began + app.strategy.healthy_deadline, until))
    what = problem or f"found by users: {listed(ids)}"
    journal.add("healthy", "", what, time.monotonic() - began, not problem)
    if problem:
        raise Failed(problem)


def found(discovery, app, wanted):
    """Look once whether users find all of ``wanted``, pairs of node and id.

    :raises Failed: naming those that they do not.
    """
    gone = set(wanted)

    def all_found(endpoints):
        gone.difference_update({(e.minion, e.id) for e in endpoints})
        return not gone

    if not discovery.wait(app.name, all_found, time.monotonic(), passing=True):
        which = ", ".join(f"{instance} on {node}" for node, instance in sorted(gone))
        raise Failed(f"did not stay healthy in discovery while it was measured: {which}")


def _unhealthy(discovery, app, wanted, deadline):
    def missing(found):
        return wanted - {(e.minion, e.id) for e in found}

    def which():
        gone = missing(discovery.instances(app.name, passing=True))
        return ", ".join(f"{instance} on {node}" for node, instance in sorted(gone or wanted))

    hold = app.strategy.min_healthy
    if not discovery.wait(app.name, lambda found: not missing(found), deadline, passing=True):
        return f"not healthy in discovery within {app.strategy.healthy_deadline:g}s: {which()}"
    if hold and discovery.wait(app.name, missing, time.monotonic() + hold, passing=True):
        return f"did not stay healthy in discovery for {hold:g}s: {which()}"
    return ""
