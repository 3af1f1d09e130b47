"""Runs the hooks of an app in a deployment, from the master.

One Salt job runs successive hooks of a phase that run on every node. Each hook that runs once has its own job.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ...core import hooks
from ...core.errors import INTERRUPTS, Failed, LockLost
from ...core.instanceids import version_of
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE

if TYPE_CHECKING:
    from ...core.hooks import Mark
    from ...core.model import App, Hook
    from ...discovery.backend import Backend
    from ...planning.model import Desired, Observed, Plan
    from ..lock import Lock
    from ..remote.jobs import Jobs
    from ..verbs.appsite import Site
    from .context import Identity, Ids


class Freeze(Failed):
    """A hook with ``on_failure: freeze`` failed, so nothing more may be changed."""


class Hooks:
    """The hooks of ``app`` at ``version``.

    :param discovery: the environment's discovery, which has the marks.
    :param prefix: the beginning of all keys of the app in discovery.
    :param lock: the held lock. Every write of a mark goes through it.
    """

    def __init__(
        self, jobs: Jobs, discovery: Backend, prefix: str, app: App, version: str, lock: Lock, identity: Identity
    ) -> None:
        self.jobs, self.discovery, self.app, self.version = jobs, discovery, app, version
        self.lock, self.identity = lock, identity
        self._prefix = prefix
        self._known: dict[str, Mark] | None = None

    def run(self, phase: str, nodes: Sequence[str] | Ids, on: str = "", once: bool = True, every: bool = True) -> float:
        """Run the hooks of ``phase``, in the order of the definition. Return how long that took, in seconds.

        :param nodes: names of the nodes of the wave, or node -> ids of the instances that the hooks are about.
        :param on: the node for one-time hooks. By default the first of ``nodes``.
        :param once: whether to run one-time hooks.
        :param every: whether to run the other hooks.
        :raises Failed: a hook failed. It is a Freeze if the hook's ``on_failure`` is ``freeze``.
        """
        began, some = time.monotonic(), self.app.hooks.get(phase, ()) if nodes else ()
        for is_once, alike in groupby(some, lambda hook: hook.once):
            if is_once and once:
                for hook in alike:
                    self._once(phase, hook, nodes, on or next(iter(nodes)))
            elif every and not is_once:
                self._run(phase, list(alike), nodes)
        return time.monotonic() - began

    def _once(self, phase: str, hook: Hook, nodes: Sequence[str] | Ids, node: str) -> None:
        name = hooks.key(phase, hook)
        known = self._marks().get(name)
        if known:
            if known["deployment"] != self.identity.id:
                self.jobs.journal.say(f"{phase}: `{hook.command}` is not run again: {hooks.told(known)}")
            return
        there = {node: nodes.get(node, ())} if isinstance(nodes, dict) else [node]
        self._mark("started", phase, hook, node)
        seen: dict[str, Any] = {}
        try:
            self._run(phase, [hook], there, seen)
        except LockLost:
            raise
        except Failed:
            # If nobody saw the hook's end, the mark stays, and the next deployment refuses to begin.
            if all(value["ended"] for value in seen.values()) and seen:
                self._unmark(name)
            raise
        self._mark("done", phase, hook, node)

    def _unmark(self, name: str) -> None:
        """Remove a mark. If that fails, only warn: the result of the hook counts, and an operator settles the mark."""
        try:
            self.lock.write({}, [hooks.marks_key(self._prefix, self.version, name)])
        except LockLost:
            raise
        except Failed as exc:
            self.jobs.journal.warn(f"the mark of a hook could not be removed, see deploy.hooks: {exc}")

    def _marks(self) -> dict[str, Mark]:
        if self._known is None:
            self._known = marks(self.discovery, self._prefix, self.version)
        return self._known

    def _mark(self, state: str, phase: str, hook: Hook, node: str) -> None:
        name, value = hooks.key(phase, hook), hooks.mark(state, phase, hook, node, self.identity)
        self.lock.write({hooks.marks_key(self._prefix, self.version, name): value})
        self._marks()[name] = value

    def _run(
        self, phase: str, some: Sequence[Hook], nodes: Sequence[str] | Ids, seen: dict[str, Any] | None = None
    ) -> None:
        """Run hooks one after the other, on all ``nodes`` at once.

        :param seen: receives the answers of the nodes, for the caller.
        """
        seen = {} if seen is None else seen
        keys = {hooks.key(phase, hook): hook for hook in some}

        def answer(node: str, value: Any) -> str:
            problem = answers.hook(value, node, {key: hook.command for key, hook in keys.items()})
            # If a node's answer is wrong, nobody knows the effects of its hooks.
            if not problem:
                seen[node] = value
            return problem

        try:
            self.lock.check()
            self.jobs.run(
                phase,
                "deploy.hook",
                nodes,
                self.app.name,
                phase,
                self.version,
                list(keys),
                instances=nodes if isinstance(nodes, dict) else None,
                deployment=self.identity.id,
                deadline=sum(hook.timeout for hook in some) + TALK_DEADLINE,
                told=lambda value: ", ".join(f"`{command}`" for command in value["ran"]),
                answer=answer,
                wrong=lambda value: value["problem"],
            )
        except LockLost:
            raise
        except (Failed, *INTERRUPTS) as exc:
            self._freeze(phase, keys, [seen.get(n, {"failed": ""})["failed"] for n in nodes], exc)
            raise

    def _freeze(self, phase: str, keys: Mapping[str, Hook], failed: Iterable[str | None], exc: BaseException) -> None:
        """Raise Freeze if a hook that failed, or may have failed, has ``on_failure: freeze``.

        :param failed: for each node, the key of its failed hook, None if no hook failed, or empty if that is unknown.
        """
        blamed = [hook for f in failed if f is not None for key, hook in keys.items() if f in ("", key)]
        if any(hook.on_failure == "freeze" for hook in blamed):
            raise Freeze(str(exc) if isinstance(exc, Failed) else f"{phase}: it was interrupted") from exc


def marks(discovery: Backend, prefix: str, version: str) -> dict[str, Mark]:
    """Return the marks of a release, by key: see hooks.mark."""
    return hooks.of_release(hooks.usable(discovery.read_all(hooks.marks_key(prefix))), prefix, version)


def forget(site: Site, lock: Lock, observed: Observed, going: Ids) -> None:
    """Remove the marks of releases that no node has any more, if all nodes were looked at.

    :param going: node -> versions that were removed since ``observed``.
    """
    if not set(site.environment.nodes) <= set(observed.releases):
        return
    staying = {v for node, releases in observed.releases.items() for v in releases if v not in going.get(node, ())}
    gone = {version for versions in going.values() for version in versions} - staying
    names = hooks.of_releases(site.discovery.keys(hooks.marks_key(site.prefix)), site.prefix, gone)
    if names:
        lock.write({}, names)


def count(runs: Ids, desired: Desired) -> int:
    """Return how many instances of the desired release are among ``runs``: node -> ids."""
    return sum(version_of(i) == desired.version for node in desired.nodes for i in runs.get(node, ()))


def newest(runs: Ids, desired: Desired, nodes: Iterable[str]) -> str:
    """Return the node for one-time hooks if instances on ``nodes`` go: a node with the new release, if any."""
    new = [n for n in desired.nodes if any(version_of(i) == desired.version for i in runs.get(n, ()))]
    return next(iter([*new, *nodes]), "")


def starts_last(plan: Plan, number: int, runs: Ids, desired: Desired) -> bool:
    """Return whether no wave after ``number`` starts or publishes anything, not even after a pause."""
    if any(wave.start or wave.adopt for wave in plan.waves[number:]):
        return False
    return not plan.paused or count(runs, desired) + sum(plan.waves[0].start.values()) >= desired.instances
