"""The work of a verb that changes something: decided with the lock held, done, judged, and written to the history."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core import arguments, editions, entries, records, words
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, Failed, Refused, cause, unchanged
from .. import conditions, notify, outcome
from ..lock import Lock
from ..outcome import Ending
from ..rollout.context import Identity

if TYPE_CHECKING:
    from ...planning.model import Observed
    from ..journal import Journal
    from .appsite import Site
    from .session import Session

    Result = dict[str, Any]

# How the lock's message names a run that is no usual deployment.
DOING = {
    "rollback": "rolled back",
    "scale": "scaled",
    "restart": "restarted",
    "reload": "reloaded",
    "withdraw": "withdrawn",
    "promote": "promoted",
    "abort": "aborted",
    "remove": "removed",
    "prune": "pruned",
    "evacuate": "moved",
    "return": "moved",
}


@dataclass(frozen=True)
class Task:
    """The work of a verb, once it is decided.

    :param version: the release that it is about.
    :param lines: the steps of the plan, in sentences.
    :param changes: whether there is anything to do.
    :param act: ``act(lock, identity)`` does the work.
    :param verdict: ``verdict(result)`` returns the outcome in words.
    :param more: further keys of the result.
    :param publishes: the task is done only if clients find the release.
    :param keep: clients may get other services, too.
    :param alone: clients may get no other release.
    :param removes: the task is done only if clients find nothing.
    :param restarts: ``(node, id)`` of the instances to restart or reload. The task is done only if clients find all.
    :param back: the task goes back to a state that was good before. The environment allows it at any time.
    :param actions: the plan as plain data, see explain.actions. None if the verb has no plan of instances.
    """

    version: str
    lines: list[str]
    changes: bool
    act: Callable[[Lock, Identity], Ending]
    verdict: Callable[[Result], str]
    more: dict[str, Any] = field(default_factory=dict)
    publishes: bool = False
    keep: bool = False
    alone: bool = False
    removes: bool = False
    restarts: frozenset[tuple[str, str]] = frozenset()
    back: bool = False
    actions: dict[str, Any] | None = None


def carry_out(
    session: Session,
    site: Site,
    verb: str,
    decide: Callable[[Observed], Task],
    reason: object,
    test: bool,
    wait: float = 0.0,
) -> Result:
    """Observe, decide and act, with the lock held, and write the history if anything changed.

    :param verb: its name in the history and in events.
    :param test: True decides only, and returns the plan.
    :param wait: seconds to wait for another run of the app.
    """
    journal = session.journal
    about = {"app": site.app.name, "environment": site.environment.name}
    reason = arguments.text("reason", reason, arguments.REASON) or ""
    if test:
        with unchanged():
            task = decide(session.observe(site))
        against, _ = refused(session, site, verb, task)
        for sentence in against:
            session.warn(sentence)
        plan = {"against": against, "plan": task.lines, "actions": task.actions, "warnings": journal.warnings}
        return {**about, "version": task.version, **task.more, **plan, "retcode": DONE}
    began = time.time()
    identity = Identity(new_id(), session.owner, reason)
    who = {"deployment": identity.id, "owner": identity.owner, "reason": reason}
    info = {**who, **about, "doing": DOING.get(verb, "deployed")}
    notifier = notify.Notifier(session.opts, journal, site.environment.webhook, {**about, **who, "verb": verb})

    key = records.lock_key(site.prefix)
    with notifier, Lock(site.discovery, key, info, wait, partial(say_waiting, journal, wait)) as lock:
        with unchanged():
            task = decide(session.observe(site, identity.id))
            session.refuse_other_nodes(site)
            against, facts = refused(session, site, verb, task)
            if against:
                raise Refused(words.joined(against))
            session.facts.update(facts)
        for line in task.lines:
            journal.say(line)
        if task.changes:
            notifier.begin(task.version, task.lines, site.nodes)
        before = outcome.look(site)
        ending = task.act(lock, identity)
        only = task.version if ending.code == DONE and task.publishes and task.alone else ""
        serving = outcome.look(site, outcome.expected(task, ending, before), only)
        untrue = outcome.judge(task, ending.code, serving)
        result = {
            **about,
            "version": task.version,
            "verb": verb,
            **who,
            **task.more,
            **session.facts,
            "plan": task.lines,
            "steps": journal.as_data(),
            "warnings": journal.warnings,
            "began": began,
            "seconds": round(time.time() - began, 3),
            "changed": task.changes,
            "why": ending.why,
            "record": ending.record,
            "serving": serving,
            **({"untrue": untrue, "acted": ending.code} if untrue else {}),
            "outcome": outcome.of(ending, untrue).value,
            "retcode": NOT_REVERTED if untrue else ending.code,
        }
        result["verdict"] = task.verdict(result)
        notifier.end(result)
        if task.changes:
            _remember(session, site, lock, identity, result)
    return result


def refused(session: Session, site: Site, verb: str, task: Task) -> tuple[list[str], dict[str, Any]]:
    """Return why the environment does not allow ``task`` now, as sentences, or facts for the history."""
    if not task.changes or task.back or session.allowed:
        return [], {}
    environment = site.environment
    against, facts = conditions.refused(environment, session.force, time.time())
    if verb in conditions.APPROVED and environment.conditions.approvals.by:
        people = conditions.approved_by(
            site.discovery, site.prefix, environment.conditions, editions.release(task.version), session.owner
        )
        missing = conditions.unapproved(environment, site.app, task.version, people, session.owner)
        against += [missing] if missing else []
        facts["approved_by"] = people
    # A deployment that continues after its pause was allowed before.
    session.allowed = not against
    return against, facts


def _remember(session: Session, site: Site, lock: Lock, identity: Identity, result: Result) -> None:
    """Write ``result`` to the history. If that fails, the result is still reported."""
    try:
        old = entries.surplus([key for key, _ in site.discovery.entries(records.history_key(site.prefix))])
        lock.write({records.history_key(site.prefix, identity.id): entries.cut(result)}, old)
    except (Failed, *INTERRUPTS) as exc:
        session.journal.warn(f"the history of this run could not be written: {cause(exc)}")


def say_waiting(journal: Journal, seconds: float, holder: str) -> None:
    """Say that a run waits for ``holder``, a sentence on the run that has the lock."""
    journal.say(f"waits for at most {seconds:g}s: {holder}")


def new_id() -> str:
    """Return the id of a deployment. Ids sort by time, and two at the same time differ."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
