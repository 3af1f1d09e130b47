"""``environment.down``: removes the apps of an environment, and its platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import definition, discovery
from ...core import arguments, records, words
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, DiscoveryUnavailable, Failed, Refused, cause
from ...definition import inheritance, platforms
from ...discovery import wording
from .. import sidebyside, status
from ..remote import answers
from ..remote.fleet import Fleet
from ..remote.jobs import Jobs
from . import remove, several, up

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ...discovery.backend import Backend
    from .session import Session
    from .task import Result

# The states that remove the platform, in this order: all that highstate set up.
CLEAN = ("loadbalancer.clean", "dns.clean")


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

    :param platform: whether to remove HAProxy, names and Consul or SkyDNS, too, if highstate set them up.
    :param data: whether to remove the data of the servers with it. They have the history of all deployments.
    :param test: True changes nothing, and shows the plan.
    """
    environment = session.environment(arguments.word(name))
    most = arguments.count("parallel", parallel, sidebyside.MOST)
    why = arguments.text("reason", reason, arguments.REASON) or ""
    if data and not platform:
        raise Refused("data=True: is for platform=True, which removes the servers that have the data.")
    env = environment.name
    ours = platforms.of(inheritance.resolve(session.pillar()["environments"], env))
    if not test:
        up.refuse_closed(session, environment)
    with Fleet(session.opts) as fleet:
        nodes = up.await_minions(session, fleet, environment)
        there = _apps(environment, fleet, nodes, platform)
        lines = [f"remove the app {app}" for app in there]
        if platform:
            parts = f"HAProxy, names and {ours.TITLE}" if ours else "HAProxy and names"
            kept = "with the data of its servers" if data else "but for the data of its servers"
            lines.append(f"remove {parts} from {', '.join(nodes)}{f', {kept}' if ours else ''}")
        if test or not lines:
            return {"environment": env, "plan": lines or ["nothing to do: no app is there"], "retcode": DONE}
        if not confirm:
            raise Refused(f"say confirm=True to {'; '.join(lines)}.")
        result = _remove(session, environment, there, most, why, platform)
        if result["retcode"] or not platform:
            return result
        clean = (*CLEAN, ours.CLEAN) if ours else CLEAN
        about = {"whole_consul": True, "remove_server_data": data}
        try:
            changed = up.apply(Jobs(fleet, session.journal), nodes, *clean, pillar={"saltdeploy": about})
        except (Failed, *INTERRUPTS) as exc:
            also = " data=True" if data else ""
            again = f"salt-run environment.down {env} platform=True{also} confirm=True"
            verdict = f"{result['verdict']}, and the platform is not removed: {cause(exc)}. Then {again} goes on."
            return {**result, "verdict": verdict, "retcode": NOT_REVERTED}
    verdict = f"{result['verdict']}, and so is the platform ({up.told(changed)})"
    return {**result, "states": changed, "verdict": verdict}


def _apps(environment: Environment, fleet: Fleet, nodes: list[str], platform: bool) -> list[str]:
    """Return the names of the apps of which anything is there: in Consul, or on one of ``nodes``.

    :param platform: whether Consul may be gone already, because an earlier run removed it and did not come to its end.
    """
    replies = answers.compared(fleet.run("environment.machine", nodes), answers.machine)
    wrong = {node: reply.error for node, reply in replies.items() if reply.error}
    if wrong:
        raise Refused(words.by_problem(wrong))
    on_nodes = {node: reply.value for node, reply in replies.items()}
    here = {app for value in on_nodes.values() for app in value["releases"]}
    here |= {instance.partition("_")[0] for value in on_nodes.values() for instance in value["instances"]}
    try:
        with discovery.connect(environment.discovery) as backend:
            backend.leader()
            here |= {name for name in environment.names if _is_known(backend, environment, name)}
            here |= set(status.undefined(backend, environment))
    except DiscoveryUnavailable as exc:
        run = {node: ", ".join(value["instances"]) for node, value in on_nodes.items() if value["instances"]}
        if run or not platform:
            what = f" It has to take these from clients: {words.by_problem(run)}" if run else ""
            raise Refused(
                f"{words.without_period(str(exc))}. Bring {wording.of(environment.discovery).store} back first.{what}"
            ) from exc
        return []
    return sorted(here)


def _is_known(backend: Backend, environment: Environment, name: str) -> bool:
    """Return whether Consul knows anything of an app that is not history."""
    app = definition.known_by_name(environment, name)
    found = (*backend.instances(app.name), *backend.instances(app.candidate))
    record = records.read(backend, records.prefix(environment.name, name))[0]
    return bool(record) or any(e.meta.get("environment") in (None, environment.name) for e in found)


def _remove(
    session: Session, environment: Environment, apps: list[str], most: int, reason: str, platform: bool
) -> Result:
    """Remove ``apps``."""
    env = environment.name
    about: dict[str, Any] = {"environment": env, "runs": []}
    if not apps:
        return {**about, "verdict": f"no app was left in {env}", "retcode": DONE}

    def verb(own: Session, app: str, env: str) -> Result:
        return remove.run(own, app, env, True, False, reason)

    with several.Several(session, environment, apps, most) as run:

        def act() -> Result:
            found = run.remove(verb)
            with discovery.connect(environment.discovery) as backend:
                marks = [records.away_key(env, node) for node in records.away(backend, env)]
            if platform and marks:
                run.write({}, marks)
            left = [app for app, result in found.items() if result["retcode"] != DONE]
            verdict = f"not removed from {env}: {', '.join(left)}" if left else f"all apps of {env} are removed"
            code = several.retcode(found.values())
            if run.interrupts.count and not code:
                verdict, code = f"{verdict}, and this run was interrupted then", NOT_REVERTED
            return {"runs": list(found.values()), "verdict": verdict, "retcode": code}

        return {**about, **run.locked("remove", "taken down", reason, 0.0, act)}
