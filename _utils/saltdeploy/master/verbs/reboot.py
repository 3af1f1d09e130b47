"""``environment.zones`` and ``environment.reboot``: machines are rebooted in turns, and only if nothing runs there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import arguments
from ...core.errors import DONE, NOT_REVERTED, Refused
from ...core.words import by_problem
from ...definition import loadbalancer, platforms
from ...discovery import wording
from ...system import processes
from ..remote import answers
from ..remote.fleet import Fleet
from ..remote.jobs import Jobs, PhaseFailed
from . import several, up
from .evacuate import refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...core.environment import Environment
    from .session import Session
    from .several import Several
    from .task import Result

# The role of the node that runs the Salt master.
MASTER = "master"
# How long the machines may take to come back, by default, and how often they are asked, in seconds.
BACK, ASK = 600.0, 2.0
# How long a machine may take to say its state, in seconds.
DEADLINE = 15.0
# How long a Consul server that came back has no vote, in seconds. It is autopilot's ServerStabilizationTime of 10 s,
# and some more: https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file/general
VOTES = 13.0


def zones(session: Session, name: object, nodes: object, services: bool) -> Result:
    """Return the machines that may be rebooted together, in turns. Machines that are out of use already come first.

    Machines that must not be rebooted are left out with a warning.

    :param nodes: only these. None is all nodes, without the load balancers.
    :param services: whether clients may miss services that are no apps meanwhile.
    :raises Refused: a machine that ``nodes`` names must not be rebooted, or a machine does not answer.
    """
    environment = session.environment(arguments.word(name))
    named = arguments.names("nodes", nodes)
    for node in named:
        refuse_unknown(environment, node)
    chosen = named or [n.name for n in environment.nodes.values() if loadbalancer.ROLE not in n.roles]
    for node in [node for node in environment.nodes if node not in chosen and not named]:
        session.warn(
            f"{node} is a load balancer, and its clients may have no other. It is left out: nodes= can name it."
        )
    with discovery.connect(environment.discovery) as backend:
        away = session.out_of_use(backend, environment)
    with Fleet(session.opts) as fleet:
        found = _look(fleet, chosen)
    _refuse({node: error for node, (_, error) in found.items() if error})
    left = {node: why for node in chosen if (why := _kept(environment, node, found[node][0], services))}
    if named:
        _refuse(left)
    for node, why in left.items():
        session.warn(f"{node} is left out: {why}")
    groups = turns(environment, [node for node in chosen if node not in left])
    groups.sort(key=lambda group: not any(node in away for node in group[1]))
    return {
        "environment": environment.name,
        "zones": [{"zone": zone, "nodes": some} for zone, some in groups],
        "warnings": session.journal.warnings,
        "retcode": DONE,
    }


def _kept(environment: Environment, node: str, about: Mapping[str, Any], services: bool) -> str:
    """Return why a machine must not be rebooted, in a sentence, or an empty text.

    :param about: its state.
    """
    servers = _servers(environment)
    if about["boot"] == processes.boot() or MASTER in environment.nodes[node].roles:
        return "it runs the Salt master, which could not see it come back. Reboot it by hand."
    if not _majority(servers, [node]):
        store = wording.of(environment.discovery).store
        return f"{store} has only {len(servers)} servers, and no majority without it. Reboot it by hand, or have three."
    if about["services"] and not services:
        names = ", ".join(about["services"])
        return f"clients would miss its services that are no apps: {names}. To allow it, say services=True."
    return ""


def _refuse(problems: Mapping[str, str]) -> None:
    if problems:
        raise Refused(by_problem(problems))


def turns(environment: Environment, nodes: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return ``nodes`` in groups of the nodes that may be out of use together: the zone and the nodes of each.

    A group is a zone. A node without a zone is a group of its own. So is each Consul server of a zone, if the servers
    in the other zones are no majority.
    """
    servers = _servers(environment)
    groups: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        zone = environment.nodes[node].zone
        beside = [server for server in servers if environment.nodes[server].zone == zone]
        alone = not zone or (node in servers and not _majority(servers, beside))
        groups.setdefault((zone, node if alone else ""), []).append(node)
    return [(zone, some) for (zone, _), some in groups.items()]


def run(
    session: Session, name: object, nodes: object, services: bool, timeout: object, test: bool, reason: object
) -> Result:
    """Reboot machines that are out of use, all at the same time, and wait until they are back with their agents.

    :param services: whether clients may miss services that are no apps meanwhile.
    :param timeout: how long the machines may take, in seconds or as ``10m``. None is BACK.
    """
    environment = session.environment(arguments.word(name))
    chosen = arguments.names("nodes", nodes)
    most = BACK if timeout is None else arguments.seconds("timeout", timeout)
    why = arguments.text("reason", reason, arguments.REASON) or ""
    _refuse_nodes(environment, chosen)
    if not test:
        up.refuse_closed(session, environment)
    with Fleet(session.opts) as fleet, several.Several(session, environment, [], 1) as run:
        if test:
            _ready(session, environment, fleet, chosen, services)
            return {"environment": environment.name, "plan": [f"reboot {', '.join(chosen)}"], "retcode": DONE}

        def act() -> Result:
            before = _ready(session, environment, fleet, chosen, services)
            run.refuse_to_begin()
            return _reboot(run, fleet, before, most)

        return {**run.locked("reboot", "rebooted", why, 0.0, act), "nodes": chosen}


def _refuse_nodes(environment: Environment, nodes: Sequence[str]) -> None:
    """Raise Refused for machines that cannot be rebooted together."""
    env = environment.name
    if not nodes:
        raise Refused(f"which machines? Say nodes=, for example: salt-run environment.reboot {env} nodes=web1")
    for node in nodes:
        refuse_unknown(environment, node)
    servers = _servers(environment)
    if not _majority(servers, nodes):
        gone = ", ".join(node for node in servers if node in nodes)
        store = wording.of(environment.discovery).store
        raise Refused(f"without {gone}, {store} has no majority of its {len(servers)} servers. Reboot fewer at once.")


def _ready(
    session: Session, environment: Environment, fleet: Fleet, nodes: Sequence[str], services: bool
) -> dict[str, str]:
    """Return the identity of the last boot of each machine. Raise Refused if clients would miss one of them."""
    env = environment.name
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        away = session.out_of_use(backend, environment)
    used = [node for node in nodes if node not in away]
    if used:
        raise Refused(f"{', '.join(used)}: in use. Run salt-run deploy.evacuate {','.join(used)} env={env} first.")
    others = [node for node in _servers(environment) if node not in nodes]
    found = _look(fleet, [*nodes, *others])
    _refuse({node: error for node, (_, error) in found.items() if error and node in nodes})
    _refuse({node: why for node in nodes if (why := _kept(environment, node, found[node][0], services))})
    there = {node: ", ".join(found[node][0]["instances"]) for node in nodes}
    _refuse({node: f"has instances still: {ids}." for node, ids in there.items() if ids})
    sick = {node: found[node][1] or found[node][0]["agent"] for node in others}
    sick = {node: problem for node, problem in sick.items() if problem}
    if not _majority(_servers(environment), [*nodes, *sick]):
        raise Refused(f"the other {platforms.kind(environment)} are no majority: {by_problem(sick)}.")
    return {node: found[node][0]["boot"] for node in nodes}


def _reboot(run: Several, fleet: Fleet, before: Mapping[str, str], most: float) -> Result:
    """Reboot the machines whose boots are ``before``. Return the result when they are back, or the time is over."""
    began, names, journal = time.monotonic(), ", ".join(before), run.session.journal
    told: dict[str, str] = {}
    try:
        Jobs(fleet, journal).run("reboot", "environment.reboot", list(before), told=lambda value: "goes down")
    except PhaseFailed as exc:
        told = exc.problems  # a machine may go down although its answer is lost
    left = {node: f"{problem}{_also(told.get(node))}" for node, problem in _await(run, fleet, before, most).items()}
    if not left and set(_servers(run.environment)) & set(before) and not run.interrupts.count:
        journal.say(f"waits {VOTES:g}s, until the {platforms.kind(run.environment)} vote again")
        time.sleep(VOTES)
    if not left:
        are = "is" if len(before) == 1 else "are"
        verdict = f"{names} {are} back after a reboot, {time.monotonic() - began:.0f}s later"
        return {"verdict": verdict, "retcode": DONE}
    env = run.environment.name
    verdict = (
        f"not back after a reboot, look now: {by_problem(left)}. Nothing is placed there in {env} before"
        f" salt-run deploy.return {','.join(before)} env={env}"
    )
    return {"verdict": verdict, "retcode": NOT_REVERTED}


def _also(problem: str | None) -> str:
    return f" ({problem})" if problem else ""


def _await(run: Several, fleet: Fleet, before: Mapping[str, str], most: float) -> dict[str, str]:
    """Wait for machines to come back with a Consul agent that knows its leader. Return the others, each with why.

    :param most: how long to wait, in seconds. An interrupt ends it.
    """
    began, waiting = time.monotonic(), dict.fromkeys(before, "")
    while True:
        for node, (about, error) in _look(fleet, list(waiting)).items():
            down = "it has not gone down" if about and about["boot"] == before[node] else ""
            waiting[node] = error or down or about["agent"]
            if not waiting[node]:
                agent = wording.of(run.environment.discovery).agent
                run.session.journal.add("reboot", node, f"is back, with its {agent}", time.monotonic() - began)
        waiting = {node: problem for node, problem in waiting.items() if problem}
        if run.interrupts.count:
            return {node: f"nobody waited for it, because of an interrupt: {why}" for node, why in waiting.items()}
        if not waiting or time.monotonic() > began + most:
            return waiting
        time.sleep(ASK)


def _look(fleet: Fleet, nodes: Sequence[str]) -> dict[str, tuple[Any, str]]:
    """Return the state of each machine, or why it has not told it: node -> state and problem."""
    replies = answers.compared(fleet.run("environment.machine", nodes, deadline=DEADLINE), answers.machine)
    return {node: (None if reply.error else reply.value, reply.error) for node, reply in replies.items()}


def _servers(environment: Environment) -> list[str]:
    return platforms.servers(environment)


def _majority(servers: Sequence[str], gone: Sequence[str]) -> bool:
    """Return whether more than half of ``servers`` are left without ``gone``, or none of them goes."""
    left = [node for node in servers if node not in gone]
    return len(left) == len(servers) or len(left) > len(servers) // 2
