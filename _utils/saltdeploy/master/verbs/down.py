"""``environment.down``: removes the apps of an environment, and its platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import arguments, words
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, DiscoveryUnavailable, Failed, Refused, cause
from ...definition import cluster, inheritance
from .. import sidebyside, status
from ..remote import answers
from ..remote.fleet import Fleet
from ..remote.jobs import Jobs
from . import remove, several, up

if TYPE_CHECKING:
    from ...core.model import Environment
    from .session import Session
    from .task import Result

# The states that remove the platform, in this order: all that highstate set up.
CLEAN = ("loadbalancer.clean", "dns.clean", "consul.clean")


def run(
    session: Session,
    name: object,
    confirm: bool,
    platform: bool,
    data: bool,
    test: bool,
    reason: object,
    parallel: object,
) -> Result:
    """Remove all apps of an environment, those first that require others.

    :param platform: whether to remove HAProxy, names and Consul, too, if highstate set them up.
    :param data: whether to remove the data of the Consul servers with it. They have the history of all deployments.
    :param test: True changes nothing, and shows the plan.
    """
    environment = session.environment(arguments.word(name))
    most = arguments.count("parallel", parallel, sidebyside.MOST)
    why = arguments.text("reason", reason, arguments.REASON) or ""
    if data and not platform:
        raise Refused("data=True: is for platform=True, which removes the Consul that has the data.")
    env = environment.name
    ours = cluster.wanted(inheritance.resolve(session.pillar()["environments"], env))
    with Fleet(session.opts) as fleet:
        up.await_minions(fleet, environment)
        there = _apps(environment, fleet, platform)
        lines = [f"remove the app {app}" for app in there]
        if platform:
            parts = "HAProxy, names and Consul" if ours else "HAProxy and names"
            kept = "with the data of its servers" if data else "but for the data of its servers"
            lines.append(f"remove {parts} from {', '.join(environment.nodes)}{f', {kept}' if ours else ''}")
        if test or not lines:
            return {"environment": env, "plan": lines or ["nothing to do: no app is there"], "retcode": DONE}
        if not confirm:
            raise Refused(f"say confirm=True to {'; '.join(lines)}.")
        result = _remove(session, environment, there, most, why)
        if result["retcode"] or not platform:
            return result
        clean = CLEAN if ours else CLEAN[:-1]
        about = {"whole_consul": True, "remove_server_data": data}
        try:
            changed = up.apply(
                Jobs(fleet, session.journal), list(environment.nodes), *clean, pillar={"saltdeploy": about}
            )
        except (Failed, *INTERRUPTS) as exc:
            again = f"salt-run environment.down {env} platform=True confirm=True"
            verdict = f"{result['verdict']}, and the platform is not removed: {cause(exc)}. Then {again} goes on."
            return {**result, "verdict": verdict, "retcode": NOT_REVERTED}
    verdict = f"{result['verdict']}, and so is the platform ({up.told(changed)})"
    return {**result, "states": changed, "verdict": verdict}


def _apps(environment: Environment, fleet: Fleet, platform: bool) -> list[str]:
    """Return the names of the apps that are in an environment, by its definition and by Consul.

    :param platform: whether Consul may be gone already, because an earlier run removed it and did not come to its end.
    """
    try:
        with discovery.connect(environment.discovery) as backend:
            backend.leader()
            return [*environment.names, *status.undefined(backend, environment)]
    except DiscoveryUnavailable as exc:
        if not platform:
            raise
        replies = answers.compared(fleet.run("environment.machine", list(environment.nodes)), answers.machine)
        left = {node: reply.error or ", ".join(reply.value["instances"]) for node, reply in replies.items()}
        left = {node: found for node, found in left.items() if found}
        if left:
            raise Refused(
                f"{words.without_period(str(exc))}. Bring Consul back first, because it has to take these from clients:"
                f" {words.by_problem(left)}"
            ) from exc
        return []


def _remove(session: Session, environment: Environment, apps: list[str], most: int, reason: str) -> Result:
    """Remove ``apps``."""
    env = environment.name
    about: dict[str, Any] = {"environment": env, "runs": []}
    if not apps:
        return {**about, "verdict": f"no app was left in {env}", "retcode": DONE}
    run = several.Several(session, environment, apps, most)

    def verb(own: Session, app: str, env: str) -> Result:
        return remove.run(own, app, env, True, False, reason)

    def act() -> Result:
        found = run.remove(verb)
        left = [app for app, result in found.items() if result["retcode"] != DONE]
        verdict = f"not removed from {env}: {', '.join(left)}" if left else f"all apps of {env} are removed"
        return {"runs": list(found.values()), "verdict": verdict, "retcode": several.retcode(found.values())}

    return {**about, **run.locked("remove", "taken down", reason, 0.0, act)}
