"""What must hold before anything is touched. Refused says what does not, and what to do."""

from __future__ import annotations

from . import __version__
from .errors import Refused
from .jobs import TALK_DEADLINE
from .model import Instance
from .planner import Observed


def observe(site, journal):
    """Have all nodes take in their pillar as it is now; return what the planner must know of the site's app.

    It is then known, too, which nodes answer, and whose instances were looked at.

    :raises Refused: a node that is needed does not answer; one that is looked at cannot tell: no module, another
        version of it, a dead agent.
    """
    environment, app, fleet = site.environment, site.app, site.fleet
    if fleet.opts.get("pillar_cache"):  # nothing else has the master forget what it keeps
        fleet.run("saltutil.refresh_pillar", environment.nodes, wait=True, deadline=TALK_DEADLINE)
    replies = fleet.run("app.observe", environment.nodes, app.name, refresh=True, deadline=2 * TALK_DEADLINE)
    site.answering = [n for n in environment.nodes if not replies[n].silent]
    site.observed = list(site.nodes) if site.chosen else site.answering
    silent = {n: replies[n].error for n in environment.nodes if replies[n].silent}
    _refuse_silent({n: silent[n] for n in site.needed if n in silent}, site)
    for node in silent:
        journal.warn(f"{node} does not answer: what it runs is not seen.")
    _refuse_problems({node: replies[node] for node in site.observed})
    seen = {node: replies[node].value for node in site.observed}
    for node, value in seen.items():
        if value["saltdeploy"] != __version__:
            raise Refused(
                f"{node} has saltdeploy {value['saltdeploy']}, the master {__version__}: run salt '*' saltutil.sync_all"
            )
        if value["applying_states"]:
            journal.say(f"{node} applies states just now: an installation there waits for it")
    return Observed(
        instances=tuple(Instance(**i) for value in seen.values() for i in value["instances"]),
        ports_taken={node: frozenset(value["ports_taken"]) for node, value in seen.items()},
        releases={node: tuple(value["releases"]) for node, value in seen.items()},
        ghosts={node: tuple(value["ghosts"]) for node, value in seen.items() if value["ghosts"]},
        zones=dict(environment.zones),
    )


def _refuse_silent(problems, site):
    if problems:
        rest = ",".join(n for n in site.needed if n in site.answering) if site.choice else ""
        raise Refused(
            by_problem(problems) + (f" Start it there, or leave it out: nodes={rest}" if rest else " Start it there.")
        )


def requirements(discovery, app):
    """Raise Refused if discovery does not work, or a service that ``app`` requires is not found in it."""
    discovery.leader()
    lost = [name for name in app.requires if not discovery.instances(name, passing=True)]
    if lost:
        raise Refused(
            f"{app.name} requires {' and '.join(lost)}, which discovery does not have healthy:"
            f" salt-run deploy.status, then deploy or register it first."
        )


def _refuse_problems(replies):
    """Raise Refused, naming what is wrong on which nodes, if one of ``replies`` is an error."""
    problems = {node: reply.error for node, reply in replies.items() if reply.error}
    if problems:
        raise Refused(by_problem(problems))


def by_problem(problems):
    """Say each problem once, with all the nodes that have it."""
    nodes = {}
    for node, problem in problems.items():
        nodes.setdefault(problem, []).append(node)
    return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in nodes.items())
