"""``deploy.all``, and ``deploy.app`` with several apps: deploys apps in the order of their requirements.

Each app is deployed as if it was deployed alone, in a process of its own. The run itself holds the lock of the
environment, and each deployment the lock of its app. A run waits for a lock of the environment only before it has any
other lock, so two runs cannot wait for each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import definition, discovery
from ...core import arguments, editions, records, words
from ...core.errors import DONE, NOT_REVERTED, REFUSED, REVERTED, DefinitionError, Failed, Mistakes, Refused
from ...core.words import name as said
from ...definition import conflicts
from .. import sidebyside
from ..lock import Lock
from ..outcome import Outcome
from ..remote.fleet import Fleet
from . import deploy, guard, remove, rollback, task

if TYPE_CHECKING:
    from ...core.environment import Environment
    from .session import Session
    from .task import Result

    # What a verb does with one app: its session, the app, the environment.
    Verb = Callable[[Session, str, str], Result]

# The outcome of an app whose deployment did not begin.
NOT_BEGUN = "not_begun"
# The outcome of an app that was deployed, and then taken back with its group.
TAKEN_BACK = "taken_back"


def names(value: object) -> list[str] | None:
    """Return the apps that an operator names, each once, or None if ``value`` is not several apps.

    :param value: a list, or a text with commas.
    """
    if not arguments.is_list(value) and not (isinstance(value, str) and "," in value):
        return None
    return arguments.names("apps", value)


def refuse_alone(**arguments: object) -> None:
    """Raise Refused if one of these arguments is given. They are for a single app."""
    given = [f"{name}=" for name, value in arguments.items() if value is not None and value is not False]
    if given:
        raise Refused(f"{', '.join(given)}: is for one app. With several, each is deployed as its definition says.")


def named(
    session: Session,
    name: object,
    env: object,
    *,
    version: object,
    instances: object,
    publish: bool,
    keep: bool,
    **options: Any,
) -> Result:
    """Deploy the app ``name``, or several apps if it names several.

    :param options: as for :func:`run`. A single app has no ``parallel``.
    """
    apps = names(name)
    if apps is None:
        given: dict[str, Any] = {"version": version, "instances": instances, "publish": publish, "keep": keep}
        return deploy.run(session, name, env, **given, **options)
    refuse_alone(version=version, instances=instances, publish=not publish, keep=keep)
    return run(session, apps, env, **options)


def _absent(session: Session, environment: Environment) -> frozenset[str] | None:
    """Return the nodes that do not answer and are to be left out. None if none are to be."""
    if not session.skip_absent:
        return None
    with Fleet(session.opts) as fleet:
        return session.look_for_absent(fleet, environment)


def chosen(environment: Environment, group: object) -> list[str]:
    """Return the names of all apps of ``environment``, or of its group ``group``."""
    word = arguments.one_name(group)
    if word is None:
        return environment.names
    if word not in environment.groups:
        known = environment.groups
        raise Refused(
            f"unknown group {words.shown(word)} in environment {environment.name}{words.nearest(word, known)}. Groups"
            f" there: {words.listed(known)}."
        )
    return list(environment.groups[word].apps)


def all_apps(session: Session, env: object, group: object, **options: Any) -> Result:
    """Deploy all apps of an environment, or of its group ``group``.

    :param options: as for :func:`run`.
    """
    environment = session.environment(arguments.word(env))
    return run(session, chosen(environment, group), environment.name, **options)


def run(
    session: Session,
    apps: Sequence[str],
    env: object,
    *,
    test: bool,
    reason: object,
    nodes: object = None,
    move: bool = False,
    wait: object = 0,
    parallel: object = None,
    from_env: object = None,
    allow_drift: bool = False,
) -> Result:
    """Deploy ``apps``, in the order of their requirements, and side by side where they are free.

    :param test: True only returns the plan of each app.
    :param wait: how long to wait for another run, as for deploy.run.
    :param parallel: how many apps at once. None is sidebyside.MOST.
    """
    environment = session.environment(env)
    patience = arguments.patience(wait)
    most = arguments.count("parallel", parallel, sidebyside.MOST)
    reason = arguments.text("reason", reason, arguments.REASON) or ""
    refuse_wrong(environment, apps)
    if not apps:
        raise Refused(f"{environment.name} has no apps: name some under environments:{environment.name}:apps")
    session.warn_of_others(environment)
    session.absent = session.absent or _absent(session, environment)

    def plan(own: Session, app: str, env: str) -> Result:
        return deploy.run(
            own, app, env, None, None, nodes, True, True, False, reason, move, 0, from_env, allow_drift, apps
        )

    def act(own: Session, app: str, env: str) -> Result:
        return deploy.run(
            own, app, env, None, None, nodes, True, False, False, reason, move, wait, from_env, allow_drift
        )

    with Several(session, environment, apps, most) as fleet:
        plans = fleet.plan(plan, test)
        if test:
            found = [plans[app] for app in apps]
            about = {"environment": environment.name, "warnings": session.journal.warnings}
            return {**about, "plans": found, "retcode": DONE}
        return fleet.locked("deploy", "deployed", reason, patience, lambda: fleet.deploy(act, nodes))


def refuse_wrong(environment: Environment, apps: Iterable[str]) -> None:
    """Raise a DefinitionError, with all mistakes, if any of ``apps`` cannot be deployed by its definition."""
    mistakes, unknown = Mistakes(), []
    for name in apps:
        try:
            app = definition.find_app(environment, name)
            definition.refuse_clash(environment, app)
        except DefinitionError as exc:
            mistakes.add(str(exc))
        except Refused as exc:
            unknown.append(str(exc))
    if unknown:
        raise Refused(unknown[0])
    mistakes.refuse()
    for name, group in environment.groups.items():
        pausing = [a for a in group.apps if a in apps and math.isinf(environment.apps[a].strategy.pause)]
        if group.together and pausing and len(set(group.apps) & set(apps)) > 1:
            raise Refused(
                f"environments:{environment.name}:groups:{said(name)}: is `together`, and a deployment of"
                f" {', '.join(pausing)} pauses until somebody promotes it. Give its `pause` a time, or take it out of"
                " the group."
            )
    chosen = {name: environment.apps[name] for name in apps}
    for name in apps:
        way = conflicts.circle(name, set(chosen[name].requires) & set(chosen), chosen)
        if way:
            raise Refused(conflicts.in_a_circle(way))


class Several:
    """Several apps of an environment, and a verb for each: a context manager that takes the interrupts of this run.

    :param most: how many are at work at once.
    """

    def __init__(self, session: Session, environment: Environment, apps: Sequence[str], most: int) -> None:
        self.session, self.environment, self.apps, self._most = session, environment, list(apps), most
        self.interrupts = sidebyside.Interrupts()
        self._pillar = session.pillar()
        self._lock: Lock | None = None
        self._together = {
            app: name
            for name, group in environment.groups.items()
            if group.together
            for app in group.apps
            if app in apps
        }

    def __enter__(self) -> Several:
        self.interrupts.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.interrupts.__exit__(*exc)

    @property
    def requires(self) -> dict[str, list[str]]:
        """App -> which of these apps it requires. An app without a definition requires none."""
        known = self.environment.apps
        needs = {name: known[name].requires if name in known else () for name in self.apps}
        return {name: [other for other in needs[name] if other in self.apps] for name in self.apps}

    @property
    def required_by(self) -> dict[str, list[str]]:
        """App -> which of these apps require it."""
        return {name: [other for other, needs in self.requires.items() if name in needs] for name in self.apps}

    def _ahead(self, app: str) -> list[str]:
        """Return the apps that must be done before ``app``: those that it requires, with the groups of these."""
        needs = self.requires[app]
        groups = {self._together[other] for other in needs if other in self._together} - {self._together.get(app)}
        return [other for other in self.apps if other in needs or self._together.get(other) in groups]

    def plan(self, verb: Verb, looks: bool) -> dict[str, Result]:
        """Return the plan of each app. Raise Refused, with all reasons, if one is refused.

        :param looks: whether nothing is to be changed. Then a plan that the environment does not allow now is shown.
        """
        plans = self._run(verb, {}, changes=False)
        if self.interrupts.count:
            raise KeyboardInterrupt
        bad = {app: plans[app]["verdict"] for app in self.apps if plans[app]["retcode"] != DONE}
        if not looks:
            not_now = {app: words.joined(plan["against"]) for app, plan in plans.items() if plan.get("against")}
            bad = {**not_now, **bad}
        if bad:
            lines = [f"{app}: {why.removeprefix('refused, nothing was changed: ')}" for app, why in bad.items()]
            raise Refused("\n".join(lines))
        for app in self.apps:
            for warning in plans[app].get("warnings", ()):
                self.session.warn(f"{app}: {warning}")
            for line in plans[app]["plan"]:
                self.session.journal.say(f"{app}: {line}")
        return plans

    def locked(self, verb: str, doing: str, reason: str, patience: float, act: Callable[[], Result]) -> Result:
        """Return the result of ``act``, with the lock of the environment held.

        :param patience: seconds to wait for another run in this environment.
        """
        journal, env = self.session.journal, self.environment.name
        identity = {"deployment": task.new_id(), "owner": self.session.owner, "reason": reason}
        info = {**identity, "environment": env, "apps": self.apps, "doing": doing}
        began = time.time()
        with discovery.connect(self.environment.discovery) as backend:
            key = records.environment_lock_key(env)
            with Lock(backend, key, info, patience, lambda holder: task.say_waiting(journal, patience, holder)) as lock:
                self._lock = lock
                self.interrupts.kept = True
                found = act()
        about = {"environment": env, "verb": verb, **identity, "began": began}
        return {**about, **found, "seconds": round(time.time() - began, 3), "warnings": journal.warnings}

    def deploy(self, verb: Verb, nodes: object) -> Result:
        """Deploy each app after the apps that it requires. Take a group back if one of its apps fails."""
        found = self._run(verb, {app: self._ahead(app) for app in self.apps}, self._barred)
        found = {**found, **self._taken_back(found, nodes)}
        rows = [found[app] for app in sorted(self.apps, key=list(found).index)]
        return {"runs": rows, "verdict": _verdict(self.environment.name, rows), "retcode": retcode(rows)}

    def remove(self, verb: Verb) -> dict[str, Result]:
        """Run ``verb`` for each app, before the apps that it requires."""
        return self._run(verb, self.required_by, self._kept)

    def each(self, verb: Verb) -> dict[str, Result]:
        """Run ``verb`` for each app, after the apps that it requires, whatever becomes of these."""
        return self._run(verb, self.requires, lambda app, results: self._unlocked())

    def write(self, entries: Mapping[str, Any], delete: Collection[str]) -> None:
        """Write ``{key: value}`` and remove the keys ``delete``, if this run has the lock of the environment."""
        if self._lock:
            self._lock.write(entries, delete)

    def _barred(self, app: str, results: Mapping[str, Result]) -> str:
        """Return why the deployment of ``app`` must not begin."""
        bad = {other: r for other, r in results.items() if r["retcode"] != DONE or r.get("outcome") == Outcome.PAUSED}
        for other in self.requires[app]:
            if other in bad:
                paused = bad[other].get("outcome") == Outcome.PAUSED
                return f"{other}, which it requires, {'is paused' if paused else 'was not deployed'}"
        for other in self._ahead(app):
            if other in bad:
                return f"the group {self._together[other]}, which it requires an app of, was not deployed"
        group = self._together.get(app)
        failed = [other for other in bad if group and self._together.get(other) == group]
        return f"{failed[0]} of its group {group} was not deployed" if failed else self._unlocked()

    def _kept(self, app: str, results: Mapping[str, Result]) -> str:
        """Return why the removal of ``app`` must not begin."""
        left = [o for o in self.required_by[app] if o in results and results[o]["retcode"] != DONE]
        return f"{', '.join(left)}, which requires it, was not removed" if left else self._unlocked()

    def refuse_to_begin(self) -> None:
        """Raise Refused if the lock of the environment is lost, or KeyboardInterrupt after an interrupt."""
        if self.interrupts.count:
            raise KeyboardInterrupt
        why = self._unlocked()
        if why:
            raise Refused(why)

    def _unlocked(self) -> str:
        """Return why nothing more may begin because of the lock of the environment, or an empty text."""
        try:
            if self._lock:
                self._lock.check()
        except Failed as exc:
            return str(exc)
        return ""

    def _taken_back(self, found: Mapping[str, Result], nodes: object) -> dict[str, Result]:
        """Take back the apps that were deployed of each group that failed in part. Return their results."""
        failed = {self._together[app] for app in self._together if found[app]["retcode"] != DONE}
        going = [app for app in self.apps if self._together.get(app) in failed and found[app]["retcode"] == DONE]
        changed = [app for app in going if found[app].get("changed")]
        if not changed:
            return {}
        self.session.journal.say(f"takes back {', '.join(changed)}: the rest of the group was not deployed")

        def verb(own: Session, app: str, env: str) -> Result:
            return _back(own, app, env, nodes, found[app], f"taken back with its group {self._together[app]}")

        # An interrupt that came before is the reason of some take-backs, and stops none.
        backs = self._run(verb, self.required_by, only=changed, since=self.interrupts.count)
        return {app: _after_back(found[app], back) for app, back in backs.items()}

    def _run(
        self,
        verb: Verb,
        after: Mapping[str, Collection[str]],
        barred: Callable[[str, Mapping[str, Result]], str] = lambda app, results: "",
        changes: bool = True,
        only: Iterable[str] | None = None,
        since: int = 0,
    ) -> dict[str, Result]:
        """Run ``verb`` for each app, in a process of its own.

        :param changes: whether the verb changes something.
        """

        def work(app: str, emit: Callable[[Any], None]) -> Result:
            own = self.session.beside(emit, self._pillar)
            call = partial(verb, own, app, self.environment.name)
            found = guard.attempt(lambda: sidebyside.interruptible(call), lambda: not changes)
            return {"app": app, "environment": self.environment.name, **found}

        def tell(app: str, event: Any) -> None:
            if changes:
                self.session.emit({"of": app, **event})

        works = {app: partial(work, app) for app in (self.apps if only is None else only)}
        quiet = self._lock.quiet if self._lock else nullcontext
        lost = partial(self._lost, changes)
        return sidebyside.run(works, after, self._most, tell, barred, lost, self.interrupts, quiet, since)

    def _lost(self, changes: bool, app: str, why: str) -> Result:
        """Return the result of an app that was not begun, or, without ``why``, whose process ended without one."""
        about = {"app": app, "environment": self.environment.name, "changed": False}
        if why:
            return {**about, "outcome": NOT_BEGUN, "verdict": f"{app} was not begun: {why}", "retcode": REFUSED}
        if not changes:
            return {**about, "verdict": "the process that plans it was killed", "retcode": REFUSED}
        look = f"salt-run deploy.status {app} env={self.environment.name}"
        verdict = f"the process of {app} was killed, so nobody knows how far it came. Look now ({look})."
        return {**about, "outcome": Outcome.NOT_REVERTED.value, "verdict": verdict, "retcode": NOT_REVERTED}


def _back(session: Session, app: str, env: str, nodes: object, deployed: Result, why: str) -> Result:
    """Take an app back to its state before the result ``deployed``."""
    session.allowed = True
    of, before = deployed["deployment"], deployed["before"]
    if not before:
        return remove.run(session, app, env, True, False, why, of)
    if before == deployed["version"]:
        raise Refused(f"{app} has the release and the settings that it had before. Its other changes stay.")
    version, settings = editions.release(before), editions.settings(before)
    return rollback.run(session, app, env, version, nodes, False, False, why, False, settings, of)


def _after_back(deployed: Result, back: Result) -> Result:
    """Return the result of an app that was deployed and taken back."""
    if back["retcode"] == DONE:
        verdict = f"{deployed['app']} was deployed and taken back. {back['verdict']}"
        return {**deployed, "outcome": TAKEN_BACK, "verdict": verdict, "retcode": REVERTED, "back": back}
    verdict = f"{deployed['app']} was deployed, and could not be taken back: {back['verdict']}"
    return {**deployed, "outcome": TAKEN_BACK, "verdict": verdict, "retcode": NOT_REVERTED, "back": back}


def retcode(rows: Iterable[Result]) -> int:
    """Return the exit code of a run: 0 if all apps are done, 2 if one needs a look, 3 if nothing was changed.

    1 says that each app that is not done is as it was before.
    """
    rows = list(rows)
    codes = {row["retcode"] for row in rows}
    if codes == {DONE}:
        return DONE
    if NOT_REVERTED in codes:
        return NOT_REVERTED
    changed = any(row["retcode"] == REVERTED or row.get("changed") for row in rows)
    return REVERTED if changed else REFUSED


def _verdict(environment: str, rows: Sequence[Result]) -> str:
    """Return the outcome of a run in a sentence."""
    paused = [row["app"] for row in rows if row.get("outcome") == Outcome.PAUSED]
    done = [row["app"] for row in rows if row["retcode"] == DONE and row["app"] not in paused]
    before = [row["app"] for row in rows if row["retcode"] in (REVERTED, REFUSED)]
    look = [row["app"] for row in rows if row["retcode"] == NOT_REVERTED]
    if len(done) == len(rows):
        changed = any(row.get("changed") for row in rows)
        how = "are deployed" if changed else "were already deployed, nothing was done"
        return f"all {len(rows)} apps {how} in {environment}" if len(rows) > 1 else rows[0]["verdict"]
    parts = [
        f"{', '.join(map(said, some))} {'are' if len(some) > 1 else 'is'} {how}"
        for some, how in (
            (look, f"not as before and not deployed, look now (salt-run deploy.status env={environment})"),
            (before, "as before"),
            (paused, "paused"),
            (done, "deployed"),
        )
        if some
    ]
    return f"in {environment}, {'; '.join(parts)}"
