"""A plan, or why there is none, for people in sentences. A plan for programs as plain data. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ..core import changes, editions, traffic
from . import editions as choice
from .model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from ..core.changes import Changes
    from ..core.model import PortRange
    from .model import Desired, Move, Observed, Plan, Wave


def lines(plan: Plan, app: str, version: str) -> list[str]:
    """Return a Plan as a list of sentences, in the order of execution.

    :param app: the name of the app.
    :param version: the edition that the plan is for.
    """
    out, release, version = [], editions.release(version), editions.told(version)
    if plan.clean:
        out.append(f"stop instances that serve nobody: {listed(plan.clean)}")
    if plan.sick:
        out.append(f"not healthy in discovery, so it is replaced: {listed(plan.sick)}")
    out += [f"{app} moves from {move.source} to {move.target}: {_reason(move)}" for move in plan.moves]
    if plan.empty:
        out.append(f"{app} starts with an empty data folder on {', '.join(plan.empty)}")
    if plan.unused and plan.waves:
        out.append(f"{app} has data on {', '.join(plan.unused)}, where none of it runs then")
    if plan.install:
        out.append(f"install {app} {release} on {', '.join(plan.install)}")
    out += [f"give other weights in discovery: {traffic.listed(plan.weigh)}"] if plan.weigh else []
    for again in plan.register:
        parts = (f"{i} on {node} ({what})" for node, ids in again.items() for i, what in ids.items())
        out.append(f"register again, without a restart: {', '.join(parts)}")
    for again in plan.reload:
        parts = (f"{i} on {node} ({files})" for node, ids in again.items() for i, files in ids.items())
        out.append(f"write files of config and reload, without a restart: {', '.join(parts)}")
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


def settings(plan: Plan, desired: Desired, observed: Observed) -> list[str]:
    """Return sentences on the settings that a Plan changes, and on those that it cannot keep."""
    by_keys: dict[str, list[str]] = {}
    for node, ids in choice.changed(desired, observed).items() if not desired.as_before else ():
        for i, keys in ids.items():
            by_keys.setdefault(changes.told(keys), []).append(f"{i} on {node}")
    out = [f"the definition has other settings ({keys}) than {', '.join(some)}" for keys, some in by_keys.items()]
    nodes = choice.lacking(desired, observed, plan.starting)
    return [*out, choice.brought_in(desired, observed, nodes)] if nodes else out


def actions(
    plan: Plan, observed: Observed, version: str, settings: Mapping[str, Mapping[str, Changes]] | None = None
) -> dict[str, Any]:
    """Return a Plan as plain data, for ``--out=json``.

    :param observed: the state that the plan was made from.
    :param version: the edition that the plan is for.
    :param settings: node -> id -> the settings that differ.
    :returns: ``from`` (the releases that serve now), ``to``, ``settings`` (by node and id: keys that differ, and the
        names below them), ``install`` (nodes), ``clean`` and ``weigh`` (by node), ``register`` (a list of node to id to
        the parts that differ), ``reload`` (a list of node to id to the files that differ), ``moves``, ``waves``,
        ``publish``, ``measure`` (names of gates), ``paused`` and ``canary``. A wave has ``start`` (node to number of
        instances), and ``adopt``, ``replace``, ``withdraw`` and ``retire`` (node to ids).
    """
    return {
        "from": sorted({i.version for i in observed.instances if i.published and i.running}),
        "to": version,
        "settings": {node: dict(ids) for node, ids in (settings or {}).items()},
        "install": list(plan.install),
        "clean": _lists(plan.clean),
        "weigh": plan.weigh,
        "register": list(plan.register),
        "reload": list(plan.reload),
        "moves": [{"source": m.source, "target": m.target, "reason": _reason(m)} for m in plan.moves],
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


def _lists(by_node: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {node: list(ids) for node, ids in by_node.items()}


def listed(by_node: Mapping[str, Iterable[str]]) -> str:
    """Return node -> names as text."""
    return ", ".join(f"{i} on {node}" for node, ids in by_node.items() for i in ids)


def _while(wave: Wave, app: str) -> str:
    """Say how many instances serve clients while the instances that a wave replaces are out."""
    if not wave.meanwhile:
        return f"and nothing else serves on these nodes: {app} is down there until the new one is published"
    return f"while {wave.meanwhile} other{'s' * (wave.meanwhile != 1)} serve{'s' * (wave.meanwhile == 1)}"


def _reason(move: Move) -> str:
    """Say why an instance does not stay on its node."""
    return {
        Reason.BARRED: move.barred,
        Reason.NOT_CHOSEN: f"{move.source} is not among the nodes of this deployment",
        Reason.NO_PORT: f"{move.source} has no free port for it",
        Reason.ZONE: "its zone would have more than its share",
        Reason.SHARE: f"{move.source} would have more than its share",
    }[move.reason]


# -- why a plan is refused --------------------------------------------------------------------


def no_node(desired: Desired, observed: Observed) -> str:
    """Say that no node may run the app."""
    return f"no node may run {desired.app.name}: give a node of the environment the role it asks for.{_allow(observed)}"


def no_room(desired: Desired, observed: Observed, room: Mapping[str, float], missing: int) -> str:
    """Say that there are too few ports.

    :param room: node -> how many instances could be started there.
    :param missing: how many instances have to be started.
    """
    app, ports = desired.app, desired.app.ports
    free = ", ".join(f"{room[n]} on {n}" for n in desired.nodes)
    return (
        f"no room for {missing} more of {app.name} {editions.told(desired.version)} beside the running instances:"
        f" ports {ports} have free {free}. Either {_make_room(desired, ports)}, or add nodes.{_allow(observed)}"
    )


def _allow(observed: Observed) -> str:
    """Say which nodes of the environment could run the app, too."""
    return "".join(f" {reason}." for _, reason in sorted(observed.barred.items()))


def _make_room(desired: Desired, ports: PortRange | None) -> str:
    """Say how to make room on the present nodes."""
    app = desired.app
    beside = f"give {app.name} a range of ports (apps:{app.name}:ports) so that old and new run side by side"
    if ports and len(ports) > 1:
        return f"widen apps:{app.name}:ports"
    if not app.recreate:
        return f"{beside}, or have each old one stopped first (apps:{app.name}:strategy: {{type: recreate}})"
    if not desired.publish:
        return f"leave publish=False out (in place, a candidate needs the port of the old instance), or {beside}"
    if desired.keep:
        return f"leave keep=True out (in place, the new release needs the port of the kept instance), or {beside}"
    return "stop the process that uses that port"


def no_candidate(desired: Desired) -> str:
    """Say that there is nothing to publish."""
    return (
        f"no candidate of {desired.app.name} {editions.told(desired.version)} waits for publication:"
        " deploy.app with publish=False starts it"
    )


def too_few(desired: Desired, there: int) -> str:
    """Say that a publication would leave fewer instances than are desired.

    :param there: how many it would leave.
    """
    return (
        f"{there} of {desired.app.name} {editions.told(desired.version)} would be published, and {desired.instances}"
        " are desired: start as many first (deploy.app with publish=False), say instances=, or keep=True to keep the"
        " old ones."
    )


def unknown_release(ids: Mapping[str, Iterable[str]]) -> str:
    """Say that instances, node -> ids, cannot be restarted, because their nodes have no file about them."""
    return f"the release of {listed(ids)} is not known, so it cannot be restarted: deploy.app replaces it."


# -- data -------------------------------------------------------------------------------------


def lost_data(desired: Desired, lost: Iterable[str]) -> str:
    """Say that the data of the app is lost on the nodes ``lost``."""
    return (
        f"{desired.app.name} had data on {', '.join(lost)}, and its data folder there is empty: a disk that is not"
        f" mounted, or a new machine. Bring the data back, or{_confirm(desired)}"
    )


def data_elsewhere(desired: Desired, observed: Observed, new: set[str], left: set[str], moved: Sequence[Move]) -> str:
    """Say that instances would start without data that is elsewhere.

    :param new: nodes that had no instance, and have no data.
    :param left: nodes with data, and without an instance after the deployment.
    :param moved: the moves from nodes with data to nodes without.
    """
    targets, sources = sorted(new | {m.target for m in moved}), sorted(left | {m.source for m in moved})
    return (
        f"{desired.app.name} would start without its data on {', '.join(targets)}: its data is on"
        f" {_folders(observed, sources)}.{_why(observed, sources, moved)} Copy the data there, or{_confirm(desired)}"
    )


def data_left(desired: Desired, observed: Observed, left: Sequence[str]) -> str:
    """Say that no instance would stay on nodes with data, which are ``left``."""
    return (
        f"{desired.app.name} would leave its data on {_folders(observed, left)}: none of it would run there."
        f"{_why(observed, left)} Run as many as before, or say move=True to leave the data there, unused."
    )


def data_folders(observed: Observed) -> str:
    """Say where the data of an app is, or return an empty text if there is no data."""
    return _folders(observed, sorted(observed.data))


def _confirm(desired: Desired) -> str:
    return f" say move=True to start {desired.app.name} with an empty data folder."


def _folders(observed: Observed, nodes: Iterable[str]) -> str:
    return ", ".join(f"{node} ({folder})" if (folder := observed.data[node]) else node for node in nodes)


def _why(observed: Observed, nodes: Iterable[str], moves: Iterable[Move] = ()) -> str:
    barred = [observed.barred[node] for node in nodes if node in observed.barred]
    return "".join(f" {reason}." for reason in dict.fromkeys([*(_reason(m) for m in moves), *barred]))
