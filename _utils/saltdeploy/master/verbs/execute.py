"""``deploy.exec``: runs a command as a running instance would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import arguments, names
from ...core.errors import DONE, REVERTED, Refused
from .. import status
from ..remote import answers
from ..remote.fleet import Fleet
from ..remote.jobs import TALK_DEADLINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .session import Session
    from .task import Result

UNPUBLISHED = ("candidate", "warm", "withdrawn")
# How much of a command is shown, in characters.
SHOWN = 300


def run(
    session: Session, name: object, command: str, env: object, instance: object, node: object, timeout: object
) -> Result:
    """Run ``command`` once, as a running instance would. By default that is the first published instance."""
    environment, app = session.definitions(name, env)
    arguments.words(command)
    seconds = arguments.seconds("timeout", timeout)
    wanted = None if instance is None else names.instance(instance)
    node = arguments.text("node", node)
    with discovery.connect(environment.discovery) as backend, Fleet(session.opts) as fleet:
        where, which = _instance(status.of_app(backend, environment, app), wanted, node)
        job = (app.name, command, which, seconds)
        replies = fleet.run("app.command", [where], *job, deadline=seconds + TALK_DEADLINE)
    reply = answers.compared(replies, lambda value: answers.command(value, which))[where]
    ran = reply.value if reply.ok else {"code": None, "output": reply.error}
    how = "did not run to its end" if ran["code"] is None else f"ended with {ran['code']}"
    return {
        "app": app.name,
        "environment": environment.name,
        "node": where,
        "instance": which,
        **ran,
        "seconds": round(reply.seconds, 3),
        "verdict": f"{command if len(command) <= SHOWN else command[:SHOWN] + '…'} {how}, as {which} on {where}",
        "retcode": DONE if ran["code"] == 0 else REVERTED,
    }


def _instance(state: Mapping[str, Any], instance: str | None, node: str | None) -> tuple[str, str]:
    """Return the node and the id of the requested instance. Published instances come first."""
    rows = sorted((r for r in state["instances"] if r["state"] != "lost"), key=lambda r: r["state"] in UNPUBLISHED)
    fitting = [r for r in rows if instance in (None, r["id"]) and node in (None, r["node"])]
    if not fitting or (instance is None and fitting[0]["state"] in UNPUBLISHED):
        there = ", ".join(f"{r['id']} on {r['node']} ({r['state']})" for r in rows)
        asked = " ".join(filter(None, [instance, node and f"on {node}", "" if instance else "is published"]))
        raise Refused(f"no instance of {state['app']} {asked}. There are: {there or 'none'}. Say instance= and node=")
    return fitting[0]["node"], fitting[0]["id"]
