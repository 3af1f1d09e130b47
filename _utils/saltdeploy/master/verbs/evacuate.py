"""``deploy.evacuate`` and ``deploy.return``: take all apps off nodes for a time, and bring the nodes back into use.

An evacuated node is marked in discovery. Until it returns, no app is placed there, and it need not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    from ...core.environment import Environment
    from .session import Session
    from .task import Result

    Place = Callable[[bool, Session, str, str], Result]

# How long the node may take to say what is left there, in seconds.
DEADLINE = 15.0


def evacuate(
    session: Session, nodes: object, env: object, move: bool, test: bool, reason: object, parallel: object
) -> Result:
    """Move all instances on ``nodes`` to other nodes, and keep the nodes out of use.

    :param nodes: the name of a node, or several names.
    :param move: whether apps may leave their data on the nodes.
    """
    environment, names, why = _given(session, nodes, env, reason)
    for name in names:
        refuse_unknown(environment, name)
    marks = _marks(environment, names)
    there = {app for mark in marks.values() for app in mark["apps"]}
    apps = [app for app in environment.names if app in there]
    for app in apps:
        definition.find_app(environment, app)  # it says the mistakes
    session.away.update(dict.fromkeys(names, True))

    def place(test: bool, own: Session, app: str, env: str) -> Result:
        # Apps that the others require may have been on these nodes only. They go first.
        presumed = apps if test else ()
        return scale.place(own, app, env, verb="evacuate", test=test, reason=why, move=move, presumed=presumed)

    most = arguments.count("parallel", parallel, sidebyside.MOST)
    with Several(session, environment, apps, most) as run:
        plans = run.plan(partial(place, True), test)
        if test:
            return {"environment": environment.name, "plans": [plans[app] for app in apps], "retcode": DONE}
        facts = _allowed(session, environment)
        about = {"by": session.owner, "reason": why, "time": time.time(), **facts}
        marked = {_key(environment, name): {**about, **mark} for name, mark in marks.items()}
        result = run.locked("evacuate", "rearranged", why, 0.0, lambda: _act(run, marked, place))
    left = [row["app"] for row in result["runs"] if row["retcode"] != DONE] or _left(session, names)
    but = f", but these are left there: {', '.join(left)}" if left else ", and no app runs there"
    verdict = f"{_are(names)} out of use in {environment.name}{but}. To bring {_them(names)} back, run"
    verdict = f"{verdict} salt-run deploy.return {','.join(names)} env={environment.name}"
    return {**result, "nodes": names, "verdict": verdict, "retcode": NOT_REVERTED if left else DONE}


def come_back(session: Session, nodes: object, env: object, test: bool, reason: object, parallel: object) -> Result:
    """Bring the evacuated ``nodes`` back into use, and spread the apps evenly again that were there.

    The nodes are in use again in any case. An app that cannot be spread is named.

    :param nodes: the name of a node, or several names.
    """
    environment, names, why = _given(session, nodes, env, reason)
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        away = records.away(backend, environment.name)
        marks = {name: backend.read(_key(environment, name)) for name in names if name in away}
    used = [name for name in names if name not in marks]
    if used:
        raise Refused(f"{', '.join(used)} {'is' if len(used) == 1 else 'are'} not evacuated in {environment.name}.")
    session.away.update(dict.fromkeys(names, False))
    had = {app: [n for n, (mark, _, _) in marks.items() if app in _apps(mark)] for app in environment.names}
    # The data of an app stay where they are now. An app with a mistake is named by its deployment.
    known = environment.apps
    apps = [
        app
        for app, there in had.items()
        if there and (app not in known or (set(there) & set(environment.eligible(known[app])) and not known[app].data))
    ]

    def place(test: bool, own: Session, app: str, env: str) -> Result:
        return scale.place(own, app, env, verb="return", test=test, reason=why, move=True, even=True)

    most = arguments.count("parallel", parallel, sidebyside.MOST)
    with Several(session, environment, apps, most) as run:
        if test:
            plans = run.plan(partial(place, True), test)
            return {"environment": environment.name, "plans": [plans[app] for app in apps], "retcode": DONE}
        _allowed(session, environment)
        unmarked = {_key(environment, name): None for name in names}
        result = run.locked("return", "rearranged", why, 0.0, lambda: _act(run, unmarked, place))
    left = [row["app"] for row in result["runs"] if row["retcode"] != DONE]
    but = f", but these were not spread again: {', '.join(left)}" if left else ""
    verdict = f"{_are(names)} in use again in {environment.name}{but}"
    return {**result, "nodes": names, "verdict": verdict, "retcode": NOT_REVERTED if left else DONE}


def _given(session: Session, nodes: object, env: object, reason: object) -> tuple[Environment, list[str], str]:
    """Return the environment, the names of the nodes and the reason."""
    environment = session.environment(env)
    names = arguments.names("nodes", nodes)
    if not names:
        raise Refused("which node? Say its name first, for example: salt-run deploy.evacuate web1")
    return environment, names, arguments.text("reason", reason, arguments.REASON) or ""


def refuse_unknown(environment: Environment, node: str) -> None:
    """Raise Refused if ``environment`` has no such node."""
    if node not in environment.nodes:
        near = f"{words.nearest(node, environment.nodes)}{words.odd(node)}"
        raise Refused(f"{environment.name} has no node {words.shown(node)}{near}.")


def _key(environment: Environment, node: str) -> str:
    return records.away_key(environment.name, node)


def _apps(mark: object) -> list[Any]:
    found = shapes.holder(mark).get("apps")
    return found if isinstance(found, list) else []


def _are(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _them(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _allowed(session: Session, environment: Environment) -> dict[str, Any]:
    """Raise Refused if the environment is closed. Return the facts for the mark."""
    against, facts = conditions.refused(environment, session.force, time.time())
    if against:
        raise Refused(words.joined(against))
    return facts


def _marks(environment: Environment, nodes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the apps of which the record has instances on ``nodes``: node -> ``{"apps"}``.

    A node that is evacuated once more keeps the apps of before, which ``deploy.return`` brings back.
    """
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        found = {app: records.read(backend, records.prefix(environment.name, app))[0] for app in environment.names}
        before = {node: _apps(backend.read(_key(environment, node))[0]) for node in nodes}
    places = {app: (record or records.NOTHING)["nodes"] for app, record in found.items()}
    return {n: {"apps": [app for app in places if places[app].get(n) or app in before[n]]} for n in nodes}


def _act(run: Several, marks: dict[str, Any], place: Place) -> Result:
    """Write ``marks``, of which None removes the mark, and place all apps."""
    run.write({key: mark for key, mark in marks.items() if mark}, [key for key, mark in marks.items() if not mark])
    return {"runs": list(run.each(partial(place, False)).values())}


def _left(session: Session, nodes: Sequence[str]) -> list[str]:
    """Return the instances that ``nodes`` still keep, of any app. A silent node has none for clients."""
    with Fleet(session.opts) as fleet:
        replies = answers.compared(fleet.run("environment.machine", nodes, deadline=DEADLINE), answers.machine)
    return [one for reply in replies.values() if not reply.error for one in reply.value["instances"]]
