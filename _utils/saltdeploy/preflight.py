"""What must hold before anything is touched. Refused says what does not, and what to do."""

from __future__ import annotations

from types import MappingProxyType

from . import __version__
from .errors import Refused
from .jobs import TALK_DEADLINE
from .model import Instance
from .planner import Observed


def answering(fleet, environment, needed, journal, choice=True):
    """Return the nodes of ``environment`` that answer, each with its pillar fresh.

    :param needed: nodes that must; of the others it is only told.
    :param choice: whether there is ``nodes=`` to leave one out with.
    :raises Refused: one of ``needed`` does not answer.
    """
    replies = fleet.run("saltutil.refresh_pillar", environment.nodes, wait=True, deadline=TALK_DEADLINE)
    there = [n for n in environment.nodes if replies[n].ok]
    silent = [n for n in environment.nodes if n not in there]
    if set(silent) & set(needed):
        rest = ",".join(n for n in needed if n in there) if choice else ""
        raise Refused(
            by_problem({n: replies[n].error for n in silent if n in needed})
            + (f" Start it there, or leave it out: nodes={rest}" if rest else " Start it there.")
        )
    for node in silent:
        journal.warn(f"{node} does not answer: what it runs is not seen.")
    return there


def observe(fleet, app, nodes, journal, zones=MappingProxyType({})):
    """Return what the planner must know of ``app`` on ``nodes``.

    :param zones: the zone of each node.
    :raises Refused: a node cannot tell: no module, another version of it, a dead agent.
    """
    replies = fleet.run("app.observe", nodes, app.name, deadline=TALK_DEADLINE)
    problems = {node: reply.error for node, reply in replies.items() if reply.error}
    if problems:
        raise Refused(by_problem(problems))
    seen = {node: reply.value for node, reply in replies.items()}
    for node, value in seen.items():
        if value["saltdeploy"] != __version__:
            raise Refused(
                f"{node} has saltdeploy {value['saltdeploy']}, the master {__version__}: run salt '*' saltutil.sync_all"
            )
        if value["applying_states"]:
            journal.say(f"{node} applies states just now: an installation there waits for it")
    return Observed(
        instances=tuple(Instance(**i) for value in seen.values() for i in value["instances"]),
        ports_taken={node: frozenset(value["ports_taken"]) for node, value in seen.items()},
        releases={node: tuple(value["releases"]) for node, value in seen.items()},
        ghosts={node: tuple(value["ghosts"]) for node, value in seen.items() if value["ghosts"]},
        zones=dict(zones),
    )


def requirements(discovery, app):
    """Raise Refused if discovery does not work, or a service that ``app`` requires is not found in it."""
    discovery.leader()
    lost = [name for name in app.requires if not discovery.instances(name, passing=True)]
    if lost:
        raise Refused(
            f"{app.name} requires {' and '.join(lost)}, which discovery does not have healthy:"
            f" salt-run deploy.status, then deploy or register it first."
        )


def room(fleet, app, version, nodes):
    """Raise Refused if there is no room for a release on one of ``nodes``, or its artifact cannot be had there."""
    replies = fleet.run("app.room", nodes, app.name, version, deadline=TALK_DEADLINE)
    problems = {node: reply.error for node, reply in replies.items() if reply.error}
    if problems:
        raise Refused(by_problem(problems))


def by_problem(problems):
    """Say each problem once, with all the nodes that have it."""
    nodes = {}
    for node, problem in problems.items():
        nodes.setdefault(problem, []).append(node)
    return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in nodes.items())
