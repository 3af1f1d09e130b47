"""``environment.up``: takes an environment from accepted minions to running apps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core import arguments, words
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, REFUSED, REVERTED, Failed, Refused, cause
from ...core.words import by_problem
from ...definition import platforms
from .. import conditions
from ..remote import jobs
from ..remote.fleet import Fleet
from ..remote.jobs import Jobs
from . import several

if TYPE_CHECKING:
    from ...core.environment import Environment
    from .session import Session
    from .task import Result

BALANCER = "loadbalancer"
# How long the states of a stage may take, in seconds. A slow package mirror takes minutes.
STATES = 3600.0


def stages(environment: Environment) -> list[tuple[str, list[str]]]:
    """Return the nodes in the order in which highstate sets them up: the name of each stage, and its nodes.

    Agents need the servers, and load balancers need names.
    """
    servers = platforms.servers(environment)
    balancers = [n.name for n in environment.nodes.values() if BALANCER in n.roles and n.name not in servers]
    others = [name for name in environment.nodes if name not in servers and name not in balancers]
    named = ((platforms.kind(environment), servers), ("nodes", others), ("load balancers", balancers))
    return [(name, nodes) for name, nodes in named if nodes]


def run(session: Session, name: object, test: bool, reason: object, parallel: object, wait: object = 0) -> Result:
    """Apply highstate to the nodes of an environment, stage by stage, and deploy all its apps.

    After a failure or an interrupt, run it again. It does nothing twice.

    :param test: True changes nothing, and shows the plan.
    :param wait: how long to wait for another run, as for several.run.
    """
    environment = session.environment(arguments.word(name))
    several.refuse_wrong(environment, environment.names)
    session.warn_of_others(environment)
    arguments.count("parallel", parallel, 1)
    if not test:
        refuse_closed(session, environment)
    with Fleet(session.opts) as fleet:
        up = await_minions(session, fleet, environment)
        changed: dict[str, int] = {}
        try:
            for stage, some in stages(environment):
                nodes = [node for node in some if node in up]
                if not nodes:
                    continue
                changed.update(_stage(Jobs(fleet, session.journal), stage, nodes, test))
        except (Failed, *INTERRUPTS) as exc:
            if test and not isinstance(exc, Failed):
                raise
            return _stopped(environment, cause(exc), test)
    about = {"environment": environment.name, "states": changed}
    if not environment.names:
        verdict = f"{environment.name} is up, and has no apps: {told(changed)}"
        return {**about, "runs": [], "verdict": verdict, "retcode": DONE}

    def deploy() -> Result:
        return several.run(
            session, environment.names, environment.name, test=test, reason=reason, parallel=parallel, wait=wait
        )

    if test:
        return {**about, **_planned(session, deploy, changed)}
    try:
        found = deploy()
    except (Refused, Failed, *INTERRUPTS) as exc:
        why = str(exc) if isinstance(exc, Refused) else cause(exc)
        verdict = f"the states of {environment.name} are applied ({told(changed)}), and nothing was deployed: {why}"
        nothing = isinstance(exc, Refused) and not any(changed.values())
        return {**about, "runs": [], "verdict": verdict, "retcode": REFUSED if nothing else NOT_REVERTED}
    # States may have changed something, although no app was.
    code = REVERTED if found["retcode"] == REFUSED and any(changed.values()) else found["retcode"]
    return {**about, **found, "verdict": f"{found['verdict']} ({told(changed)})", "retcode": code}


def refuse_closed(session: Session, environment: Environment) -> None:
    """Raise Refused if the environment is closed now, and the operator does not force it."""
    against, _ = conditions.refused(environment, session.force, time.time())
    if against:
        raise Refused(words.joined(against))


def await_minions(session: Session, fleet: Fleet, environment: Environment) -> list[str]:
    """Return the nodes that answer. Raise Refused, with all reasons, if one of the others is in use."""
    replies = fleet.run("test.ping", list(environment.nodes))
    silent = {node: reply.error for node, reply in replies.items() if reply.error}
    away: set[str] = set()
    if silent:
        # Before the first highstate, there is no Consul that could have a mark.
        with contextlib.suppress(Failed):
            away = session.marked(environment)
    if session.skip_absent:
        session.absent = frozenset(node for node in silent if replies[node].silent)
        away |= session.absent
    for node in sorted(set(silent) & away):
        session.warn(f"{node} is left out: {silent.pop(node)}")
    if silent:
        raise Refused(f"{by_problem(silent)}. Accept its key, start it, or take it out of `nodes`.")
    return [node for node in environment.nodes if not replies[node].error]


def apply(work: Jobs, nodes: Sequence[str], *mods: str, pillar: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Apply states to ``nodes`` in one job. Return node -> how many states changed something.

    :param mods: names of states. None is highstate.
    """
    found = work.run(
        "states",
        "state.apply",
        nodes,
        *([",".join(mods)] if mods else []),
        pillar=pillar,
        queue=False,
        on_busy=lambda node: work.journal.say(f"{node} applies states just now: these wait"),
        deadline=STATES,
        told=lambda value: f"{_changes(value)} of {len(value)} states changed something",
        wrong=jobs.misshapen_states,
    )
    return {node: _changes(value) for node, value in found.items()}


def would(work: Jobs, nodes: Sequence[str]) -> dict[str, int]:
    """Return node -> how many states of highstate would change something.

    A state may fail because earlier states, which it depends on, changed nothing. That is no mistake.
    """
    busy: Callable[[str], None] = lambda node: None  # noqa: E731  # only so that a busy node is asked again
    replies = work.fleet.run("state.apply", nodes, test=True, queue=False, on_busy=busy, deadline=STATES)
    problems, counts = {}, {}
    for node, reply in replies.items():
        if jobs.misshapen_states(reply.value):
            problems[node] = reply.error or jobs.misshapen_states(reply.value)
            continue
        counts[node] = _changes(reply.value)
        text = f"{counts[node]} of {len(reply.value)} states would change something"
        work.journal.add("states", node, text, reply.seconds)
        if reply.error:
            first, *rest = reply.error.split("; ")
            more = f" and {len(rest)} more" if rest else ""
            work.journal.warn(f"{node}: states that cannot tell before others are applied: {first}{more}")
    if problems:
        raise jobs.PhaseFailed("states", problems, counts)
    return counts


def _stage(work: Jobs, stage: str, nodes: Sequence[str], test: bool) -> dict[str, int]:
    work.journal.say(f"{stage}: {', '.join(nodes)}")
    if test:
        return would(work, nodes)
    work.run("sync", "saltutil.sync_all", nodes, told=lambda value: "modules are there", deadline=STATES)
    return apply(work, nodes)


def _changes(value: Mapping[str, Any]) -> int:
    return sum(bool(state.get("changes")) or state.get("result") is None for state in value.values())


def told(changed: Mapping[str, int]) -> str:
    """Return how many states changed something on how many nodes, in words."""
    count, nodes = sum(changed.values()), sum(bool(n) for n in changed.values())
    if not count:
        return "no state changed anything"
    return f"{count} state{'s' * (count != 1)} changed something on {nodes} node{'s' * (nodes != 1)}"


def _stopped(environment: Environment, why: str, test: bool) -> Result:
    """Return the result of a run whose states did not succeed."""
    env = environment.name
    if test:
        verdict = f"the states of {env} would fail, nothing was changed: {why}"
    else:
        again = f"salt-run environment.up {env}"
        verdict = f"the states of {env} are not all applied, and no app was deployed: {why}. Then {again} goes on."
    return {"environment": env, "runs": [], "verdict": verdict, "retcode": REVERTED if test else NOT_REVERTED}


def _planned(session: Session, deploy: Callable[[], Result], changed: Mapping[str, int]) -> Result:
    """Return the plans of all apps. Before the states are applied, Consul may not be there to plan them by."""
    try:
        return deploy()
    except (Refused, Failed) as exc:
        if not any(changed.values()):
            raise
        session.warn(f"the apps cannot be planned before the states are applied: {exc}")
        return {"plans": [], "warnings": session.journal.warnings, "retcode": DONE}
