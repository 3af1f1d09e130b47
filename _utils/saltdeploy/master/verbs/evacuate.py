"""``deploy.evacuate`` and ``deploy.return``: take all apps off a node for a time, and bring the node back into use.

An evacuated node is marked in discovery. Until it returns, no app is placed there, and it need not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import definition, discovery
from ...core import arguments, records, words
from ...core.errors import DONE, Refused
from .. import sidebyside
from . import scale, several

if TYPE_CHECKING:
    from ...core.model import Environment
    from .session import Session
    from .task import Result


def evacuate(
    session: Session, node: object, env: object, move: bool, test: bool, reason: object, parallel: object
) -> Result:
    """Move all instances on ``node`` to other nodes, and keep the node out of use.

    :param move: whether apps may leave their data on the node.
    """
    environment, name, why = _given(session, node, env, reason)
    session.away[name] = True
    apps = _recorded(environment, [name])

    def place(test: bool, own: Session, app: str, env: str) -> Result:
        return scale.place(own, app, env, test, why, move, "evacuate")

    mark = {"by": session.owner, "reason": why, "time": time.time()}
    result = _run(session, environment, apps, place, "evacuate", why, test, parallel, {name: mark})
    if test:
        return result
    left = [row["app"] for row in result["runs"] if row["retcode"] != DONE]
    told = f"{name} is out of use in {environment.name}"
    verdict = f"{told}, but not everything left it: {', '.join(left)}" if left else f"{told}, and no app runs there"
    back = f"salt-run deploy.return {name} env={environment.name}"
    return {**result, "node": name, "verdict": f"{verdict}. Bring it back with {back}"}


def come_back(session: Session, node: object, env: object, test: bool, reason: object, parallel: object) -> Result:
    """Bring an evacuated ``node`` back into use, and spread the apps evenly again."""
    environment, name, why = _given(session, node, env, reason)
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        if not backend.read(records.away_key(environment.name, name))[1]:
            raise Refused(f"{name} is not evacuated in {environment.name}.")
    session.away[name] = False
    deployed = _recorded(environment, list(environment.nodes))
    known = environment.apps
    # The data of an app stay where they are now.
    apps = [a for a in deployed if a in known and name in environment.eligible(known[a]) and not known[a].data]

    def place(test: bool, own: Session, app: str, env: str) -> Result:
        return scale.place(own, app, env, test, why, True, "return", True)

    result = _run(session, environment, apps, place, "return", why, test, parallel, {name: None})
    if test:
        return result
    left = [row["app"] for row in result["runs"] if row["retcode"] != DONE]
    but = f", but these were not spread: {', '.join(left)}" if left else ""
    return {**result, "node": name, "verdict": f"{name} is in use again in {environment.name}{but}"}


def _given(session: Session, node: object, env: object, reason: object) -> tuple[Environment, str, str]:
    """Return the environment, the name of the node and the reason."""
    environment = session.environment(env)
    name = arguments.word(node)
    if name is None:
        raise Refused("which node? Say its name first, for example: salt-run deploy.evacuate web1")
    if not isinstance(name, str) or name not in environment.nodes:
        near = f"{words.nearest(name, environment.nodes)}{words.odd(name)}"
        raise Refused(f"{environment.name} has no node {words.shown(name)}{near}.")
    return environment, name, arguments.text("reason", reason, arguments.REASON) or ""


def _recorded(environment: Environment, nodes: list[str]) -> list[str]:
    """Return the apps of which the record has instances on any of ``nodes``."""
    found = []
    with discovery.connect(environment.discovery) as backend:
        backend.leader()
        for app in environment.names:
            record = records.read(backend, records.prefix(environment.name, app))[0] or records.NOTHING
            found += [app] if set(nodes) & set(record["nodes"]) else []
    return found


def _run(
    session: Session,
    environment: Environment,
    apps: list[str],
    place: Callable[[bool, Session, str, str], Result],
    name: str,
    why: str,
    test: bool,
    parallel: object,
    marks: dict[str, Any],
) -> Result:
    """Run ``place`` for each of ``apps``, after the ``marks`` are written. A mark that is None is removed."""
    for app in apps:
        definition.find_app(environment, app)  # it says the mistakes
    keys = {records.away_key(environment.name, node): mark for node, mark in marks.items()}
    with several.Several(session, environment, apps, arguments.count("parallel", parallel, sidebyside.MOST)) as run:
        plans = run.plan(partial(place, True))
        if test:
            return {"environment": environment.name, "plans": [plans[app] for app in apps], "retcode": DONE}

        def act() -> Result:
            written = {key: mark for key, mark in keys.items() if mark}
            run.write(written, [key for key, mark in keys.items() if not mark])
            rows = list(run.each(partial(place, False)).values())
            return {"runs": rows, "retcode": several.retcode(rows) if rows else DONE}

        return run.locked(name, "rearranged", why, 0.0, act)
