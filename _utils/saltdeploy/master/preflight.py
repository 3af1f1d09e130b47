"""Checks the preconditions before anything is touched. Refused names the problem and the remedy."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core import records, versions
from ..core.errors import Refused
from ..core.model import Instance
from ..core.words import by_problem
from ..core.words import name as said
from ..definition import conflicts, etcdcluster, loadbalancer, platforms
from ..planning.explain import listed
from ..planning.model import Observed
from . import membership
from .remote import answers, jobs
from .remote.jobs import TALK_DEADLINE, ids_by_node

if TYPE_CHECKING:
    from ..core.changes import Changes
    from ..core.environment import Environment
    from ..core.model import App
    from ..discovery.backend import Backend, Endpoint
    from ..planning.model import Desired
    from .journal import Journal
    from .remote.fleet import Fleet, Reply
    from .verbs.appsite import Site

# The kinds of sources that need programs or files of a node, whatever their keys are.
NEEDING = ("container", "git", "package", "path")
# How long a check may take to answer, beyond its interval, before its instance counts as unhealthy, in seconds. This is
# Consul's default timeout of a check.
ANSWER = 10.0
# How long a node may take to refresh its pillar, in seconds. Less than TALK_DEADLINE, so that the node still answers.
REFRESH = 45.0
# How long a node may take to find the newest version, in seconds: pip makes a virtualenv and asks an index.
NEWEST = 300.0


def observe(site: Site, journal: Journal, deployment: str | None = None) -> Observed:
    """Have the nodes of the app refresh their pillar. Return the facts on it that the planner needs, from all nodes.

    It also sets the nodes of ``site`` that answer, and the nodes whose instances were looked at.

    :param deployment: id of the run that has the app's lock. From then on, nodes refuse jobs of earlier runs.
    :raises Refused: a needed node does not answer, or does not refresh its pillar. Or a node whose instances are looked
        at has no module, another version or a dead agent.
    """
    environment, app, fleet = site.environment, site.app, site.fleet
    stale = _refresh(fleet, environment.nodes) if fleet.opts.get("pillar_cache") else {}
    concerned = _concerned(site)
    replies = _observe(site, list(environment.nodes), concerned, deployment)
    late = [node for node in environment.nodes if node not in concerned and _is_concerned(replies[node], site)]
    replies.update(_observe(site, late, late, deployment))
    # A node that is out of use may be half repaired, and counts as silent then.
    lost = {n for n in environment.nodes if replies[n].silent or (n in environment.away and replies[n].error)}
    site.answering = [n for n in environment.nodes if n not in lost]
    site.observed = list(site.nodes) if site.chosen else site.answering
    silent = {n: replies[n].error for n in environment.nodes if n in lost}
    _refuse_silent({n: silent[n] for n in site.needed if n in silent}, site)
    _refuse({node: stale[node] for node in site.needed if node in stale})
    for node in silent:
        journal.warn(f"{node} does not answer: its instances are not seen.")
    _refuse_problems({node: replies[node] for node in site.observed})
    seen = {node: replies[node].value for node in site.observed}
    _refuse_others(site, seen)
    for node, value in seen.items():
        if value["applying_states"] and not value["prepared"]:
            journal.say(f"{node} applies states just now: an installation there waits for it")
    _warn(journal, seen)
    return Observed(
        instances=tuple(Instance(**i) for value in seen.values() for i in value["instances"]),
        ports_taken={node: frozenset(value["ports_taken"]) for node, value in seen.items()},
        releases={node: tuple(value["releases"]) for node, value in seen.items()},
        zones=dict(environment.zones),
        # A node that was not chosen may have the app's data, too.
        data={node: folder for node in site.answering if (folder := _data(replies[node].value))},
        barred=environment.barred(app),
        stop_timeout=max((t for value in seen.values() for t in value["stop_timeouts"].values()), default=0.0),
        # The settings on a node that was not chosen count, too.
        editions={node: kept for node in site.answering if (kept := _editions(replies[node].value)) is not None},
        slots={node: value["slots"] for node, value in seen.items() if value.get("slots") is not None},
        prepared=frozenset(node for node, value in seen.items() if value["prepared"]),
    )


def _observe(site: Site, nodes: Sequence[str], concerned: Collection[str], deployment: str | None) -> dict[str, Reply]:
    """Ask ``nodes`` about the app of ``site``. Those that are ``concerned`` refresh their pillar first."""
    about: dict[str, Any] = {"deployment": deployment, "compare": site.compare}
    refresh = set(nodes) <= set(concerned) or sorted(concerned)
    return site.fleet.run("app.observe", nodes, site.app.name, refresh=refresh, **about, deadline=2 * TALK_DEADLINE)


def published(site: Site, nodes: Sequence[str]) -> set[tuple[str, str]]:
    """Return ``(node, id)`` of the instances of the app that ``nodes`` have published by now, as they say."""
    return {
        (node, one["id"])
        for node, reply in _observe(site, nodes, (), None).items()
        if reply.ok and not answers.observation(reply.value, site.app, site.environment.nodes[node])
        for one in reply.value["instances"]
        if one["published"]
    }


def _concerned(site: Site) -> set[str]:
    """Return the nodes that use their pillar for the app: to run it, to end it, to test it, or to balance its load.

    Each pillar costs the master a tenth of a second, so the other nodes of an environment are not asked to refresh it.
    """
    environment, app = site.environment, site.app
    if any(test.origin == "peer" for test in app.tests):
        return set(environment.nodes)
    recorded = (site.record() or records.NOTHING)["nodes"]
    balancers = loadbalancer.balancers(environment) if app.frontend else ()
    return {*site.nodes, *environment.eligible(app), *environment.away, *recorded, *balancers}


def _is_concerned(reply: Reply, site: Site) -> bool:
    """Return whether a node without a fresh pillar needs one: it has something of the app, or its pillar is too old."""
    if reply.silent:
        return False
    if reply.error:
        return True
    value = reply.value if isinstance(reply.value, dict) else {}
    parts = (value.get(key) for key in ("instances", "releases", "data", "editions"))
    return value.get("environment") != site.environment.name or any(parts)


def _editions(value: Any) -> dict[str, Changes | None] | None:
    """Return the settings that a node has kept, None if its answer does not say."""
    found = value.get("editions") if isinstance(value, dict) else None
    return None if found is None or answers.changes(found) else found


def _refresh(fleet: Fleet, nodes: Collection[str]) -> dict[str, str]:
    """Have the master forget its cached pillars. Return node -> the reason why its pillar may be old."""
    replies = fleet.run("saltutil.refresh_pillar", nodes, wait=True, timeout=REFRESH, deadline=TALK_DEADLINE)
    # Salt answers the same whether the pillar came in time or not, so only the time tells.
    taken = [node for node, reply in replies.items() if reply.value is True and reply.seconds < REFRESH]
    return {
        node: reply.error
        or f"did not take in its pillar within {REFRESH:g}s. Run: salt {node} saltutil.refresh_pillar wait=True"
        for node, reply in replies.items()
        if node not in taken
    }


def refuse_unseen(site: Site) -> None:
    """Raise Refused if clients get instances on silent nodes, which would serve on beside the new instances.

    If the operator chose nodes, the other nodes keep their instances.
    """
    if site.chosen:
        return
    app, nodes = site.app.name, site.environment.nodes
    left = [e for e in _serving(site) if e.minion in nodes and e.minion not in site.observed]
    if left:
        chosen = f"nodes={','.join(n for n in site.nodes if n in site.answering)}"
        leave = chosen if site.choice else f"salt-run deploy.app {app} {chosen} env={site.environment.name}"
        silent, served = sorted({e.minion for e in left}), ", ".join(map(membership.where, left))
        raise Refused(
            f"{', '.join(silent)}: does not answer, and clients get {served}, which would serve on. Start the"
            f" salt-minion there, or leave it there with {leave}"
        )


def left(site: Site) -> list[str]:
    """Return the instances that clients still get from nodes that were not chosen, as sentences for a plan."""
    others = [e for e in _serving(site) if e.minion not in site.nodes] if site.chosen else []
    what = ", ".join(map(membership.where, others))
    return [f"clients still find the instances that nodes= leaves alone: {what}"] if others else []


def _serving(site: Site) -> list[Endpoint]:
    found = site.discovery.instances(site.app.name, passing=True)
    return membership.divide(found, site.app.name, site.environment, site.known)[0]


def _data(value: object) -> str:
    folder = value.get("data") if isinstance(value, dict) else None
    return folder if isinstance(folder, str) else ""


def _refuse_others(site: Site, seen: Mapping[str, Any]) -> None:
    """Raise Refused if an answer is from another version, or not about the right node and app."""
    problems = {}
    for node, value in seen.items():
        version = value.get("saltdeploy") if isinstance(value, dict) else None
        if isinstance(version, str) and version != __version__:
            raise Refused(
                f"{node} has saltdeploy {said(version)}, the master {__version__}: run salt '*' saltutil.sync_all"
            )
        problems[node] = answers.told(answers.observation(value, site.app, site.environment.nodes[node]))
    _refuse({node: problem for node, problem in problems.items() if problem})


def health(discovery: Backend, desired: Desired, observed: Observed, journal: Journal) -> Observed:
    """Return ``observed`` with the health of the published instances, as discovery has it.

    It waits for instances that do not pass and may stay, because their checks may be about to run. An example is a
    restart of an agent.

    :param discovery: the environment's discovery, as the master sees it.
    :param desired: a planning.model.Desired.
    """
    app = desired.app
    serving = [i for i in observed.instances if i.published and i.running]

    def sick(found: Iterable[Endpoint]) -> list[Instance]:
        seen = {(e.minion, e.id) for e in found} | {(e.address, e.port, e.id) for e in found}
        return [i for i in serving if not {(i.node, i.id), (i.address, i.port or 0, i.id)} & seen]

    missing = sick(discovery.instances(app.name, passing=True)) if serving else []
    if any(i.version == desired.version and i.node in desired.nodes for i in missing):
        slowest = max((c.interval * c.success_before_passing for c in app.checks), default=0.0)
        seconds = min(slowest + ANSWER, app.strategy.healthy_deadline)
        journal.say(f"not healthy in discovery: {_which(missing)}. Waiting {seconds:g}s for its checks")
        deadline = time.monotonic() + seconds
        passed = discovery.wait(app.name, lambda found: not sick(found), deadline, passing=True)
        missing = [] if passed else sick(discovery.instances(app.name, passing=True))
    if missing:
        journal.warn(f"not healthy in discovery: {_which(missing)}")
    gone = {(i.node, i.id) for i in missing}
    return replace(
        observed, instances=tuple(replace(i, healthy=(i.node, i.id) not in gone) for i in observed.instances)
    )


def _which(instances: Iterable[Instance]) -> str:
    return listed(ids_by_node(instances))


def _refuse_silent(problems: Mapping[str, str], site: Site) -> None:
    if problems:
        rest = ",".join(n for n in site.needed if n in site.answering) if site.choice else ""
        ways = [*([f"nodes={rest}"] if rest else []), *(["skip_absent=True"] if site.skips else [])]
        leave = f", or leave it out: {' or '.join(ways)}" if ways else "."
        raise Refused(f"{by_problem(problems)} Start it there{leave}")


def requirements(discovery: Backend, app: App, environment: Environment) -> None:
    """Raise Refused if discovery does not work, or has no healthy service that ``app`` requires.

    A service of another environment does not count.
    """
    discovery.leader()
    found = {name: discovery.instances(name, passing=True) for name in app.requires}
    lost = [name for name in app.requires if not any(e.belongs_to(environment.name) for e in found[name])]
    circle = conflicts.circle(app.name, lost, environment.apps)
    if circle:
        raise Refused(conflicts.in_a_circle(circle))
    if lost:
        raise Refused(
            f"{app.name} requires {' and '.join(lost)}, which discovery does not have healthy:"
            f" salt-run deploy.status env={environment.name}, then deploy or register it first."
        )


def rights(discovery: Backend, app: App, environment: Environment) -> None:
    """Raise Refused if the etcd that highstate sets up does not let nodes register ``app`` yet.

    An etcd that an operator set up has no list of rights, nor has an etcd of an earlier version of the states.
    """
    if environment.discovery.get("skydns", {}).get("user") != etcdcluster.DEPLOYER:
        return
    granted = discovery.granted()
    lost = sorted({app.name, *filter(None, [app.service.name])} - granted) if granted is not None else []
    if lost:
        first = platforms.servers(environment)[0]
        raise Refused(
            f"the nodes of {environment.name} have no rights at etcd yet to register {' and '.join(lost)}. Run:"
            f" salt {first} state.apply saltdeploy.skydns"
        )


def newest(site: Site, above: str = "", known: Mapping[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """Return the newest version that the source has on all nodes of ``site``, and the answers for the next question.

    The answers are empty if a folder has changed a moment ago, and for other kinds of sources.

    :param above: the deployed version, empty if nothing is deployed.
    :param known: the answers to an earlier question, None if there are none.
    :raises Refused: a node does not know it, or two nodes have two versions.
    """
    asked = (site.app.name, above, known or {}, known is None)
    replies = site.fleet.run("app.newest", site.nodes, *asked, deadline=NEWEST)
    replies = answers.compared(replies, answers.newest)
    _refuse_silent({node: reply.error for node, reply in replies.items() if reply.silent}, site)
    _refuse_problems(replies)
    found: dict[str, list[str]] = {}
    for node, reply in replies.items():
        found.setdefault(reply.value["version"], []).append(node)
    if len(found) > 1:
        told = ", ".join(f"{version} on {' and '.join(nodes)}" for version, nodes in sorted(found.items()))
        remedy = (
            "Bring the same files to all of them, or name one with nodes=."
            if site.app.source.kind == "path"
            else "Run it again when all of them see the same."
        )
        raise Refused(f"the source of {site.app.name} is not the same on all nodes: {told}. {remedy}")
    stamps = {reply.value["stamp"]: reply.value["version"] for reply in replies.values()}
    return next(iter(found)), {} if "" in stamps else stamps


def wanted(site: Site, version: object) -> str:
    """Return the version to deploy, as versions.check does, or the version of the content of a folder."""
    return newest(site)[0] if versions.is_open(site.app, version) else versions.check(site.app, version)


def files(fleet: Fleet, app: App, version: str, nodes: Collection[str], journal: Journal) -> None:
    """Raise Refused, with all problems, if a file that the definition of ``app`` names is missing or not renderable.

    :param version: the release that the files are for.
    """
    source = app.source
    named = (
        *(source.python, source.token_file, source.netrc, source.cert, source.ca, source.wheelhouse),
        *(source.key_file, source.lock, source.build, app.unit),
    )
    if not (app.config or app.states or any(named) or source.kind in NEEDING):
        return
    replies = fleet.run("app.files", nodes, app.name, version, deadline=TALK_DEADLINE)
    replies = answers.compared(replies, answers.files)
    _refuse_problems(replies)
    values = {node: reply.value for node, reply in replies.items()}
    _warn(journal, values)
    _refuse({node: "\n".join(value["problems"]) for node, value in values.items() if value["problems"]})


def _warn(journal: Journal, values: Mapping[str, object]) -> None:
    """Report each warning of the nodes once, with all the nodes that have it."""
    for text, nodes in _nodes_of({node: jobs.warnings(value) for node, value in values.items()}).items():
        journal.warn(f"{', '.join(nodes)}: {text}")


def _refuse_problems(replies: Mapping[str, Reply]) -> None:
    """Raise Refused, with the problems and their nodes, if any of ``replies`` is an error."""
    _refuse({node: reply.error for node, reply in replies.items() if reply.error})


def _refuse(problems: Mapping[str, str]) -> None:
    if problems:
        raise Refused(by_problem(problems))


def _nodes_of(texts: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return text -> nodes, of node -> texts."""
    nodes: dict[str, list[str]] = {}
    for node, some in texts.items():
        for text in some:
            nodes.setdefault(text, []).append(node)
    return nodes
