"""``deploy.evacuate`` and ``deploy.return``: take all apps off a node for a time, and bring the node back into use.

An evacuated node is marked in discovery. Until it returns, no app is placed there, and it need not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import definition, discovery
from ...core import arguments, records, shapes, words
from ...core.errors import DONE, NOT_REVERTED, Refused
from .. import conditions, sidebyside
from ..remote import answers
from ..remote.fleet import Fleet
from . import scale
from .several import Several

if TYPE_CHECKING:
    from ...core.model import Environment
    from .session import Session
    from .task import Result

    Place = Callable[[bool, Session, str, str], Result]

# How long the node may take to say what is left there, in seconds.
DEADLINE = 15.0


def evacuate(
    session: Session, node: object, env: object, move: bool, test: bool, reason: object, parallel: object
) -> Result:
    """Move all instances on ``node`` to other nodes, and keep the node out of use.

    :param move: whether apps may leave their data on the node.
    """
    environment, name, why = _given(session, node, env, reason)
    if name not in environment.nodes:
        near = f"{words.nearest(name, environment.nodes)}{words.odd(name)}"
        raise Refused(f"{environment.name} has no node {words.shown(name)}{near}.")
    apps = _recorded(environment, name)
    for app in apps:
        definition.find_app(environment, app)  # it says the mistakes
    session.away[name] = True

    def place(test: bool, own: Session, app: str, env: str) -> Result:
        # Apps that the others require may have been on this node only. They go first.
        presumed = apps if test else ()
        return scale.place(own, app, env, verb="evacuate", test=test, reason=why, move=move, presumed=presumed)

    most = arguments.count("parallel", parallel, sidebyside.MOST)
    with Several(session, environment, apps, most) as run:
        plans = run.plan(partial(place, True), test)
        if test:
            return {"environment": environment.name, "plans": [plans[app] for app in apps], "retcode": DONE}
        facts = _allowed(session, environment)
        mark = {"by": session.owner, "reason": why, "time": time.time(), "apps": apps, **facts}
        key = records.away_key(environment.name, name)
        result = run.locked("evacuate", "rearranged", why, 0.0, lambda: _act(run, {key: mark}, place))
    left = [row["app"] for row in result["runs"] if row["retcode"] != DONE] or _left(session, name)
    but = f", but these are left there: {', '.join(left)}" if left else ", and no app runs there"
    verdict = f"{name} is out of use in {environment.name}{but}. Bring it back with"
    verdict = f"{verdict} salt-run deploy.return {name} env={environment.name}"
    return {**result, "node": name, "verdict": verdict, "retcode": NOT_REVERTED if left else DONE}


def come_back(session: Session, node: object, env: object, test: bool, reason: object, parallel: object) -> Result:
    """Bring an evacuated ``node`` back into use, and spread the apps evenly again that were there.

    The node is in use again in any case. An app that cannot be spread is named.
    """
    environment, name, why = _given(session, node, env, reason)
    key = records.away_key(environment.name, name)
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        mark, index, _ = backend.read(key)
    if not index:
        raise Refused(f"{name} is not evacuated in {environment.name}.")
    session.away[name] = False
    had = shapes.holder(mark).get("apps")
    apps = [app for app in environment.names if isinstance(had, list) and app in had]
    # The data of an app stay where they are now. An app with a mistake is named by its deployment.
    known = environment.apps
    apps = [a for a in apps if a not in known or (name in environment.eligible(known[a]) and not known[a].data)]

    def place(test: bool, own: Session, app: str, env: str) -> Result:
        return scale.place(own, app, env, verb="return", test=test, reason=why, move=True, even=True)

    most = arguments.count("parallel", parallel, sidebyside.MOST)
    with Several(session, environment, apps, most) as run:
        if test:
            plans = run.plan(partial(place, True), test)
            return {"environment": environment.name, "plans": [plans[app] for app in apps], "retcode": DONE}
        _allowed(session, environment)
        result = run.locked("return", "rearranged", why, 0.0, lambda: _act(run, {key: None}, place))
    left = [row["app"] for row in result["runs"] if row["retcode"] != DONE]
    but = f", but these were not spread again: {', '.join(left)}" if left else ""
    verdict = f"{name} is in use again in {environment.name}{but}"
    return {**result, "node": name, "verdict": verdict, "retcode": NOT_REVERTED if left else DONE}


def _given(session: Session, node: object, env: object, reason: object) -> tuple[Environment, str, str]:
    """Return the environment, the name of the node and the reason."""
    environment = session.environment(env)
    name = arguments.word(node)
    if name is None:
        raise Refused("which node? Say its name first, for example: salt-run deploy.evacuate web1")
    if not isinstance(name, str):
        raise Refused(f"{environment.name} has no node {words.shown(name)}.")
    return environment, name, arguments.text("reason", reason, arguments.REASON) or ""


def _allowed(session: Session, environment: Environment) -> dict[str, Any]:
    """Raise Refused if the environment is closed. Return the facts for the mark."""
    against, facts = conditions.refused(environment, session.force, time.time())
    if against:
        raise Refused(words.joined(against))
    return facts


def _recorded(environment: Environment, node: str) -> list[str]:
    """Return the apps of which the record has instances on ``node``."""
    found = []
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        for app in environment.names:
            record = records.read(backend, records.prefix(environment.name, app))[0] or records.NOTHING
            found += [app] if record["nodes"].get(node) else []
    return found


def _act(run: Several, marks: dict[str, Any], place: Place) -> Result:
    """Write ``marks``, of which None removes the mark, and place all apps."""
    run.write({key: mark for key, mark in marks.items() if mark}, [key for key, mark in marks.items() if not mark])
    return {"runs": list(run.each(partial(place, False)).values())}


def _left(session: Session, node: str) -> list[str]:
    """Return the instances that ``node`` still keeps, of any app. A silent node has none for clients."""
    with Fleet(session.opts) as fleet:
        replies = answers.compared(fleet.run("environment.machine", [node], deadline=DEADLINE), answers.machine)
    return [] if replies[node].error else list(replies[node].value["instances"])
