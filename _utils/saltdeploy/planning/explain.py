"""A plan for people, in sentences, and for programs, as plain data. Pure."""

from __future__ import annotations

from dataclasses import asdict

from ..core import traffic


def lines(plan, app, version):
    """Return a planner.Plan as a list of sentences, in the order of execution.

    :param app: the name of the app.
    :param version: the release that the plan is for.
    """
    out = []
    if plan.clean:
        out.append(f"stop instances that serve nobody: {listed(plan.clean)}")
    if plan.sick:
        out.append(f"not healthy in discovery, so it is replaced: {listed(plan.sick)}")
    out += [f"{app} moves from {move.source} to {move.target}: {move.reason}" for move in plan.moves]
    if plan.empty:
        out.append(f"{app} starts with an empty data folder on {', '.join(plan.empty)}")
    if plan.unused and plan.waves:
        out.append(f"{app} has data on {', '.join(plan.unused)}, where none of it runs then")
    if plan.install:
        out.append(f"install {app} {version} on {', '.join(plan.install)}")
    out += [f"give other weights in discovery: {traffic.listed(plan.weigh)}"] if plan.weigh else []
    for number, wave in enumerate(plan.waves, 1):
        verbs = "start, test and publish" if plan.publish else "start and test, without publishing,"
        if wave.replace:
            out.append(f"wave {number}: first retire {listed(wave.replace)}, {_while(wave, app)}")
        if wave.start:
            counts = ", ".join(f"{n} on {node}" for node, n in wave.start.items())
            out.append(f"wave {number}: {verbs} {counts}")
        if wave.adopt:
            ids = {node: tuple(i.id for i in candidates) for node, candidates in wave.adopt.items()}
            out.append(f"wave {number}: test again and publish {listed(ids)}")
        if wave.withdraw:
            out.append(f"wave {number}: withdraw {listed(wave.withdraw)}, to run on, warm")
        if plan.analysis and (wave.start or wave.adopt):
            out.append(f"wave {number}: measure {', '.join(plan.analysis)}")
        if wave.retire:
            out.append(f"wave {number}: retire {listed(wave.retire)}")
    out += [f"canary: {plan.canary.describe(app, version)}"] if plan.canary else []
    if plan.paused:
        out.append("pause: the rest waits, and nothing old is retired, until deploy.promote or deploy.abort")
    return out or ["no changes: the deployed instances are as defined"]


def actions(plan, observed, version):
    """Return a planner.Plan as plain data, for ``--out=json``.

    :param observed: the planner.Observed that the plan was made from.
    :param version: the release that the plan is for.
    :returns: ``from`` (the releases that serve now), ``to``, ``install`` (nodes), ``clean`` and ``weigh`` (by node),
        ``moves``, ``waves``, ``publish``, ``measure`` (names of gates), ``paused`` and ``canary``. A wave has ``start``
        (node to number of instances), and ``adopt``, ``replace``, ``withdraw`` and ``retire`` (node to ids).
    """
    return {
        "from": sorted({i.version for i in observed.instances if i.published and i.running}),
        "to": version,
        "install": list(plan.install),
        "clean": _lists(plan.clean),
        "weigh": plan.weigh,
        "moves": [asdict(move) for move in plan.moves],
        "waves": [
            {
                "start": wave.start,
                "adopt": {node: [i.id for i in candidates] for node, candidates in wave.adopt.items()},
                "replace": _lists(wave.replace),
                "withdraw": _lists(wave.withdraw),
                "retire": _lists(wave.retire),
            }
            for wave in plan.waves
        ],
        "publish": plan.publish,
        "measure": list(plan.analysis),
        "paused": plan.paused,
        "canary": asdict(plan.canary) if plan.canary else None,
    }


def _lists(by_node):
    return {node: list(ids) for node, ids in by_node.items()}


def listed(by_node):
    """Return node -> names as text."""
    return ", ".join(f"{i} on {node}" for node, ids in by_node.items() for i in ids)


def _while(wave, app):
    """Say how many instances serve clients while the instances that a wave replaces are out."""
    if not wave.meanwhile:
        return f"and nothing else serves on these nodes: {app} is down there until the new one is published"
    return f"while {wave.meanwhile} other{'s' * (wave.meanwhile != 1)} serve{'s' * (wave.meanwhile == 1)}"
