"""``deploy.logs``: shows the output of instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core import arguments, names, words
from ...core.errors import DONE, REVERTED, Refused
from ..remote import answers
from ..remote.fleet import Fleet
from ..remote.jobs import TALK_DEADLINE

if TYPE_CHECKING:
    from .session import Session
    from .task import Result


def run(
    session: Session, name: object, env: object, nodes: object, instance: object, lines: object, since: object
) -> Result:
    """Return the last lines that instances of app ``name`` printed: ``{node: {id: text}}``."""
    environment, app = session.known(name, env, looking=True)
    chosen = arguments.nodes(environment, app, nodes)
    wanted: dict[str, Any] = {
        "instances": None if instance is None else [names.instance(instance)],
        "lines": arguments.count("lines", lines, None, arguments.LINES),
        "since": None if since is None else arguments.since(since),
        "strict": False,
    }
    with Fleet(session.opts) as fleet:
        replies = fleet.run("app.logs", chosen, app.name, deadline=TALK_DEADLINE, **wanted)
    replies = answers.compared(replies, lambda value: answers.logs(value, app.name))
    found = {node: reply.value for node, reply in replies.items() if reply.ok and reply.value}
    problems = {node: reply.error for node, reply in replies.items() if reply.error}
    if not found and problems:
        raise Refused(words.by_problem(problems))
    if not found:
        which = f"instance {instance}" if instance else "instance"
        see = f"salt-run deploy.status {app.name} env={environment.name}"
        raise Refused(f"no {which} of {app.name} is on {', '.join(chosen)}: see {see}")
    about = {"app": app.name, "environment": environment.name}
    return {**about, "logs": found, "problems": problems, "retcode": REVERTED if problems else DONE}
