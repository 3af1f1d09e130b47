"""The Salt jobs of a deployment: the function that nodes run, how long it may take, and how its answers are judged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core import deadlines
from ...core.model import App
from ...discovery.registration import first_result
from ..remote import answers
from ..remote.jobs import most, publish_deadline, stop_deadline, told_ids

if TYPE_CHECKING:
    from .context import Context, Ids

    Answer = Callable[[str, Any], str]


class Step(NamedTuple):
    """A job of a deployment.

    :param job: phase, function, nodes and arguments, as Jobs.run takes them.
    :param options: the other arguments of Jobs.run.
    """

    job: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def nodes(self) -> Collection[str]:
        """The nodes that run it."""
        return self.job[2]


def install(context: Context, nodes: Collection[str]) -> Step:
    """Install the release on ``nodes``. A state run takes longer, so it is left out if no node needs any state."""
    name, version, journal = context.app.name, context.desired.release, context.jobs.journal
    about = {"digest": context.artifact, "deployment": context.identity.id}
    options = {"deadline": context.strategy.progress_deadline, "told": lambda _: f"{name} {version}"}
    if context.prepared.issuperset(nodes):
        options.update(about, room=True, answer=answers.installed)
        return Step(("install", "app.install", nodes, name, version), options)
    options["pillar"] = {"saltdeploy": {"app": name, "version": version, **about}}
    options["on_busy"] = lambda node: journal.say(f"{node} applies states just now: its installation waits")
    return Step(("install", "state.apply", nodes, "app.release"), {"queue": False, **options})


def stop(phase: str, app: App, ids: Ids) -> Step:
    """Retire the instances ``ids``."""
    return _step(phase, "app.stop", app, ids, answers.exactly(ids), deadline=stop_deadline(app, ids))


def publish(app: App, ids: Ids, **options: Any) -> Step:
    """Publish the instances ``ids``."""
    options = {"deadline": publish_deadline(app), **options}
    return _step("publish", "discovery.publish", app, ids, answers.exactly(ids), **options)


def withdraw(app: App, ids: Ids, **options: Any) -> Step:
    """Withdraw the instances ``ids``, which run on."""
    return _step("withdraw", "discovery.withdraw", app, ids, answers.exactly(ids), **options)


def weigh(app: App, weights: Mapping[str, Mapping[str, int]]) -> Step:
    """Give serving instances other weights: node -> id -> weight."""
    answer, deadline = answers.some_of(weights), stop_deadline(app, weights)
    return _step("weigh", "discovery.weigh", app, weights, answer, deadline=deadline)


def register(app: App, ids: Ids, **options: Any) -> Step:
    """Register the published instances ``ids`` as they are defined now."""
    # A node runs all of them, or has discovery run them.
    each = sum(c.timeout for c in app.checks) + max((c.interval for c in app.checks), default=0.0)
    deadline = publish_deadline(app) + deadlines.CATALOG + most(ids) * each
    options = {"deadline": deadline, **options}
    return _step("register", "discovery.register_again", app, ids, answers.exactly(ids), **options)


def restore(app: App, ids: Ids) -> Step:
    """Start the retired instances ``ids`` again, and publish them."""
    each = app.strategy.healthy_deadline + first_result(app) + 2 * app.stop.timeout
    deadline = most(ids) * each + stop_deadline(app, ids)
    return _step("restore", "app.restore", app, ids, answers.some_of(ids), deadline=deadline)


def restart(app: App, ids: Ids) -> Step:
    """Restart the instances ``ids``, one after the other on a node."""
    deadline = stop_deadline(app, ids) + _restart_time(app, ids)
    return _step("restart", "app.restart", app, ids, answers.exactly(ids), deadline=deadline)


def reload(app: App, ids: Ids) -> Step:
    """Reload the instances ``ids``, one after the other on a node."""
    deadline = stop_deadline(app, ids) + most(ids) * _reload_time(app)
    return _step("reload", "app.reload", app, ids, answers.exactly(ids), deadline=deadline)


def renew(app: App, ids: Ids, **options: Any) -> Step:
    """Write changed files of ``config`` and reload the instances ``ids``, one after the other on a node.

    With ``back=True``, write the files as they were before. A node restarts an instance that it cannot reload then.
    """
    deadline = stop_deadline(app, ids) + most(ids) * _reload_time(app)
    if options.get("back"):
        deadline += _restart_time(app, ids)
    return _step("reload", "app.renew_config", app, ids, answers.exactly(ids), deadline=deadline, **options)


def _restart_time(app: App, ids: Ids) -> float:
    """Return how long the restarts of ``ids`` may take on a node, in seconds."""
    slowest = app.strategy.healthy_deadline + sum(t.timeout for t in app.tests) + first_result(app)
    return most(ids) * (app.strategy.drain + 2 * app.stop.timeout + slowest)


def _reload_time(app: App) -> float:
    """Return how long the reload of one instance may take, in seconds."""
    command = app.reload.timeout if app.reload else 0.0
    return command + app.strategy.healthy_deadline + sum(t.timeout for t in app.tests)


def _step(phase: str, function: str, app: App, ids: Mapping[str, Any], answer: Answer, **options: Any) -> Step:
    return Step((phase, function, ids, app.name, ids), {"told": told_ids, "answer": answer, **options})
