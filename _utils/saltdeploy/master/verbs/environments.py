"""The runner ``environment``: shows the environments of the master's pillar, and finds the mistakes in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import definition, discovery
from ...core import arguments, records, shapes, words
from ...core.errors import DONE, REVERTED, DefinitionError, Refused
from ...definition import ansibleinventory, inheritance, origins, parity
from ...environment import findings, pillarroots
from ..lock import held
from ..remote import answers
from ..remote.fleet import Fleet
from ..status import State
from . import status as app_status
from .session import owner

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ..remote.fleet import Reply
    from .session import Session
    from .task import Result

# The states of an instance, or of another service under the name of an app, that should not be.
BAD = (State.LOST.value, State.WITHDRAWN.value, State.OUTSIDE.value, State.FOREIGN.value)
# How long a status waits for the nodes, in seconds.
DEADLINE = 15.0


def listed(session: Session) -> Result:
    """Return each environment with its base, its scale, and how many nodes, apps and mistakes it has."""
    pillar = session.pillar()
    against = {name: session.no_operator(pillar, name) for name in sorted(inheritance.named(pillar, "environments"))}
    rows = [_row(pillar, name) for name in against if not against[name]]
    closed = {words.name(name): why for name, why in against.items() if why}
    unnamed = {words.name(n): inheritance.no_text(n) for n in pillar["environments"] if not isinstance(n, str)}
    return {"environments": rows, "left_out": {**inheritance.unread(pillar), **unnamed, **closed}, "retcode": DONE}


def _row(pillar: dict[str, Any], name: str) -> dict[str, Any]:
    raw = pillar["environments"][name]
    row = {
        "environment": name,
        "based_on": raw.get("based_on") if isinstance(raw, dict) else None,
        "scale": raw.get("scale", 1) if isinstance(raw, dict) else None,
        "nodes": sorted(map(words.name, inheritance.mapping(raw, "nodes"))),
    }
    try:
        environment = definition.load(pillar, name)
    except DefinitionError as exc:
        return {**row, "apps": [], "mistakes": str(exc).splitlines()}
    wrong = [*environment.broken.values(), *environment.clashing.values()]
    mistakes = dict.fromkeys(line for why in wrong for line in why.splitlines())
    return {**row, "apps": environment.names, "mistakes": list(mistakes)}


def show(session: Session, name: object) -> Result:
    """Return all values of an environment and its apps, each with its origin. Values that may be secret are ``***``."""
    pillar = session.pillar()
    found = definition.choose_environment(pillar, arguments.word(name))
    # A mistake in an app does not stop it, and a mistake in the environment does.
    environment = session.load(pillar, found)
    values = [value._asdict() for value in origins.values(pillar, found)]
    chain = inheritance.chain(pillar["environments"], found)
    session.warn_of_others(environment)
    return {"environment": found, "chain": chain, "values": values, "retcode": DONE}


def diff(session: Session, first: object, second: object, machines: bool) -> Result:
    """Return the differences between two environments, by definition and on their nodes.

    :param machines: whether nodes are asked.
    """
    pillar = session.pillar()
    names = [definition.choose_environment(pillar, _given(name)) for name in (first, second)]
    if len(set(names)) == 1:
        raise Refused(f"{names[0]} is both environments. Say two: salt-run environment.diff production test")
    both = [session.load(pillar, name) for name in names]
    for environment in both:
        session.warn_of_others(environment)
        if environment.broken:
            wrong = ", ".join(sorted(environment.broken))
            raise Refused(
                f"{wrong} in {environment.name}: has mistakes, so it cannot be compared."
                " To see them, run `salt-run environment.list`."
            )
    shared = sorted(set(both[0].nodes) & set(both[1].nodes))
    if shared:
        raise Refused(f"{', '.join(shared)}: is among the `nodes` of both environments. Leave it in one of them.")
    found = parity.differences(pillar, *names)
    silent: dict[str, str] = {}
    if machines:
        of_machines, silent = compare_machines(session, *both)
        found += parity.without(of_machines, parity.ignored(pillar, *names))
    rows = [difference._asdict() for difference in found]
    retcode = REVERTED if found or silent else DONE
    return {"compared": names, "differences": rows, "silent": silent, "retcode": retcode}


def _given(name: object) -> object:
    if name is None:
        raise Refused("which environments? Say two: salt-run environment.diff production test")
    return arguments.word(name)


def compare_machines(session: Session, *both: Environment) -> tuple[list[parity.Difference], dict[str, str]]:
    """Return the facts in which the nodes of two environments differ, and node -> why it has not told them."""
    nodes = {node: number for number, environment in enumerate(both) for node in environment.nodes}
    packages = sorted(
        {package for environment in both for app in environment.apps.values() for package in app.packages}
    )
    facts: tuple[dict[str, set[str]], ...] = ({}, {})
    silent = {}
    with Fleet(session.opts) as fleet:
        replies = fleet.run("environment.facts", sorted(nodes), packages, deadline=DEADLINE)
    for node, reply in answers.compared(replies, answers.facts).items():
        if reply.error:
            silent[node] = reply.error
        for key, value in {} if reply.error else reply.value.items():
            facts[nodes[node]].setdefault(key, set()).add(value)
    unknown = [any(nodes[node] == number for node in silent) for number in (0, 1)]
    found = [
        parity.Difference(f"machines:{key}", *(", ".join(sorted(side[key])) if key in side else None for side in facts))
        for key in dict.fromkeys([*facts[0], *facts[1]])
        # A node that does not answer may have the fact that no other node of its environment has.
        if all(key in side or not unknown[number] for number, side in enumerate(facts))
        and facts[0].get(key) != facts[1].get(key)
    ]
    return found, silent


def inventory(session: Session, name: object) -> Result:
    """Return the nodes of an environment as an inventory of Ansible."""
    environment = session.environment(arguments.word(name))
    return {"environment": environment.name, "inventory": ansibleinventory.of(environment), "retcode": DONE}


def status(session: Session, name: object) -> Result:
    """Return a row for each app and each node of an environment, and whether all is as it is defined."""
    environment = session.environment(arguments.word(name))
    session.warn_of_others(environment)
    apps = [_app(app) for app in app_status.run(session, None, environment.name)["apps"]]
    with Fleet(session.opts) as fleet:
        replies = fleet.run("environment.machine", sorted(environment.nodes), deadline=DEADLINE)
    with discovery.connect(environment.discovery) as backend:
        away = records.away(backend, environment.name)
        holder, _, locked = backend.read(records.environment_lock_key(environment.name))
    lock = held(shapes.holder(holder), {"environment": environment.name}) if locked else ""
    nodes = [_node(reply, away.get(node, "")) for node, reply in answers.compared(replies, answers.machine).items()]
    whole = not any(row["problems"] for row in (*apps, *nodes))
    found = {"environment": environment.name, "as_defined": whole, "apps": apps, "nodes": nodes, "lock": lock}
    return {**found, "retcode": DONE if whole else REVERTED}


def _app(app: dict[str, Any]) -> dict[str, Any]:
    """Return the row of an app, from its data in ``deploy.status``."""
    published = [i for i in app["instances"] if i["state"] == State.PUBLISHED.value]
    healthy = sum(i["health"] == "passing" for i in published)
    found = [app["drift"]] if app["drift"] else []
    if not app["time"] and app["defined"]:
        found.append("it is not deployed")
    return {
        "app": app["app"],
        "version": app["version"],
        "healthy": healthy,
        "published": len(published),
        "desired": app["desired"],
        "lock": app["lock"],
        "problems": [*found, *problems(app)],
    }


def problems(app: dict[str, Any]) -> list[str]:
    """Return why an app is not as it should be, but for differences from its definition in release and number.

    :param app: its data in ``deploy.status``.
    """
    published = [i for i in app["instances"] if i["state"] == State.PUBLISHED.value]
    healthy = sum(i["health"] == "passing" for i in published)
    found = [text for text in (app["paused"], app["frozen"], *app["warnings"]) if text]
    if app["time"] and app["desired"] is not None and healthy < app["desired"]:
        found.append(f"{healthy} of {app['desired']} instances are healthy")
    # A warm instance has other settings by its nature.
    odd = {i["node"] for i in published if i["notes"] or i["outdated"] or i["settings"]}
    odd |= {i["node"] for i in app["instances"] if i["state"] in BAD}
    if odd:
        found.append(f"instances on {', '.join(sorted(odd))} are not as defined")
    waiting = sorted({i["node"] for i in app["instances"] if i["state"] == State.CANDIDATE.value})
    if waiting and not app["lock"]:
        found.append(f"candidates wait on {', '.join(waiting)}: see deploy.status")
    others = [i["node"] for i in app["strangers"] if i["state"] in BAD]
    if others:
        found.append(f"other services have its name on {', '.join(sorted(others))}")
    return found


def _node(reply: Reply, away: str) -> dict[str, Any]:
    problems = [away] if away else []
    if reply.error:
        problems.append(reply.error)
        return {"node": reply.node, "answers": False, "free": None, "size": None, "problems": problems}
    about = reply.value
    problems += [f"its agent: {about['agent']}"] if about["agent"] else []
    problems += ["its disk is too full for further releases"] if about["low"] else []
    undefined = ", ".join(about["undefined"])
    problems += [f"runs apps that are not defined here: {undefined}"] if undefined else []
    return {
        "node": reply.node,
        "answers": True,
        "free": about["free"],
        "size": about["size"],
        "problems": problems,
    }


def validate(session: Session, root: object) -> Result:
    """Return the mistakes in all definitions, with file, line and key path. No master, minion or Consul is asked.

    :param root: a folder of pillar. None takes the folders of this master.
    """
    given = arguments.text("root", root)
    if given and session.owner != owner():
        # Files of pillar are programs. A user of salt-api could have written them.
        raise Refused("root=: is for the Unix user of the master. Others run python -m saltdeploy validate.")
    folders = [Path(given)] if given else pillarroots.folders(session.opts)
    missing = [str(folder) for folder in folders if not (folder / pillarroots.ENVIRONMENTS).is_dir()]
    if missing or not folders:
        where = ", ".join(missing) or "pillar_roots"
        raise Refused(f"{where}: has no folder environments. Say root=FOLDER, the folder of pillar.")
    found = [f for folder in folders for f in findings.find(pillarroots.read(folder, session.opts), sealed=False)]
    retcode = REVERTED if found else DONE
    return {"findings": [finding._asdict() for finding in found], "roots": list(map(str, folders)), "retcode": retcode}
