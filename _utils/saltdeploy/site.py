"""An app in an environment with its doors open, and what all verbs of the runner do alike."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import salt.pillar

from . import arguments, bluegreen, definition, discovery, notify, preflight, records, words
from .errors import DONE, INTERRUPTS, Failed, Refused, cause
from .executor import Identity
from .fleet import Fleet
from .journal import Journal
from .lock import Lock
from .model import App, Environment, version_of

# What is being done to an app meanwhile, where it is not a deployment of the usual kind: for whom the lock stops.
DOING = {
    "rollback": "rolled back",
    "scale": "scaled",
    "restart": "restarted",
    "withdraw": "withdrawn",
    "promote": "promoted",
    "abort": "aborted",
    "remove": "removed",
    "prune": "pruned",
}


@dataclass
class Site:
    """One app in one environment, with both its doors open: its minions and its discovery.

    :param nodes: those that are to run the app; ``chosen``: somebody chose them, and nothing else is looked at.
    :param needed: those that must answer; ``choice``: whether there is ``nodes=`` to leave one out with.
    :param answering: nodes of the environment that answer; ``observed``: those whose instances were looked at. None
        until that is known.
    """

    environment: Environment
    app: App
    fleet: Fleet
    discovery: object
    nodes: tuple[str, ...]
    needed: tuple[str, ...]
    chosen: bool = False
    choice: bool = True
    answering: list[str] | None = None
    observed: list[str] | None = None

    @property
    def prefix(self):
        return records.prefix(self.environment.name, self.app.name)

    def record(self):
        """Return what runs now according to the record, None if nothing ever did."""
        return self.discovery.read(records.current_key(self.prefix))[0]

    def not_paused(self):
        """Raise Refused if a deployment is paused, and nothing may take its place."""
        sentence = records.paused(self.app.name, self.record())
        if sentence and self.app.strategy.when_paused == "refuse":
            raise Refused(sentence)

    def history(self):
        """Return the entries of the history, the newest first."""
        return history(self.discovery, self.prefix)


@dataclass(frozen=True)
class Task:
    """What a verb does, once it is decided.

    :param version: the release it is about.
    :param lines: what will be done, in sentences; ``changes`` is whether there is anything to do.
    :param act: ``act(lock, identity)`` does it, and returns the exit code, why, and the record as it is then.
    :param verdict: ``verdict(result)`` is the outcome in words.
    :param more: what the result has beside the usual.
    """

    version: str
    lines: list[str]
    changes: bool
    act: Callable
    verdict: Callable
    more: dict = field(default_factory=dict)


class Verbs:
    """The master's side.

    :param opts: the master's options (``__opts__`` of a runner).
    :param emit: called with each event of the journal as it happens.
    """

    def __init__(self, opts, emit=lambda event: None):
        self.opts, self.journal = opts, Journal(emit)

    def _carry_out(self, site, verb, decide, reason, test):
        """observe → decide → act, with the lock held, and history where something was done.

        :param decide: ``decide(observed)`` returns a Task.
        """
        about = {"app": site.app.name, "environment": site.environment.name}
        reason = arguments.text("reason", reason, arguments.REASON) or ""
        if test:
            task = decide(self._observe(site))
            return {**about, "version": task.version, **task.more, "plan": task.lines, "retcode": DONE}
        began = time.time()
        identity = Identity(_new_id(), owner(), reason)
        who = {"deployment": identity.id, "owner": identity.owner, "reason": reason}
        info = {**who, **about, "doing": DOING.get(verb, "deployed")}
        notifier = notify.Notifier(self.opts, self.journal, site.environment.webhook, {**about, **who, "verb": verb})
        with notifier, Lock(site.discovery, records.lock_key(site.prefix), info) as lock:
            task = decide(self._observe(site))
            for line in task.lines:
                self.journal.say(line)
            if task.changes:
                notifier.begin(task.version, task.lines, site.nodes)
            code, why, record = task.act(lock, identity)
            result = {
                **about,
                "version": task.version,
                "verb": verb,
                **who,
                **task.more,
                "plan": task.lines,
                "steps": self.journal.as_data(),
                "warnings": self.journal.warnings,
                "began": began,
                "seconds": round(time.time() - began, 3),
                "changed": task.changes,
                "why": why,
                "record": record,
                "retcode": code,
            }
            result["verdict"] = task.verdict(result)
            notifier.end(result)
            if task.changes:
                self._remember(site, lock, identity, result)
        return result

    def _remember(self, site, lock, identity, result):
        """Keep ``result`` as history. What was done is told even where that fails."""
        try:
            old = records.surplus(site.discovery.keys(records.history_key(site.prefix)))
            lock.write({records.history_key(site.prefix, identity.id): records.cut(result)}, old)
        except (Failed, *INTERRUPTS) as exc:
            self.journal.warn(f"the history of this run could not be written: {cause(exc)}")

    # -- ways in ------------------------------------------------------------------------------

    def _environment(self, env):
        # To a minion Salt does not say what is wrong with a pillar file; the master's own user may know.
        opts = {**self.opts, "pillar_safe_render_error": False}
        with _without_tracebacks("salt.pillar", "salt.template", "salt.utils.templates"):
            pillar = salt.pillar.Pillar(opts, {}, opts["id"], opts.get("saltenv") or "base").compile_pillar()
        if pillar.get("_errors"):
            errors = (words.without_traceback(str(error)) for error in pillar["_errors"])
            raise Refused(f"the pillar has errors: {'; '.join(errors)}")
        if not pillar.get("environments"):
            raise Refused(
                f"this master's own pillar has no environments: in pillar/top.sls, give {self.opts['id']!r}"
                " (its id) environments.all, and define one in pillar/environments/."
            )
        return definition.load(pillar, arguments.word(env))

    def _definitions(self, name, env):
        if not name:
            raise Refused("which app? Say its name first, for example: salt-run deploy.app shop")
        environment = self._environment(env)
        return environment, definition.find_app(environment, arguments.word(name))

    @contextlib.contextmanager
    def _site(self, environment, app, nodes=None, choice=True):
        """Preflight of what starts instances, with both doors open.

        :param choice: whether the verb has ``nodes=``.
        """
        chosen = arguments.nodes(environment, app, nodes)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            preflight.requirements(backend, app)
            yield Site(environment, app, fleet, backend, chosen, chosen, nodes is not None, choice)

    @contextlib.contextmanager
    def _whole_site(self, environment, app):
        """Preflight of what is done to all that is there: the nodes that the record names must answer."""
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            backend.leader()
            site = Site(environment, app, fleet, backend, tuple(environment.nodes), (), choice=False)
            recorded = (site.record() or {}).get("nodes", {})
            site.needed = tuple(n for n in environment.nodes if n in recorded)
            for node in sorted(set(recorded) - set(environment.nodes)):
                self.journal.warn(f"{node} is no node of {environment.name} any more: what it runs is not seen.")
            yield site

    def _observe(self, site):
        observed, record = preflight.observe(site, self.journal), site.record()
        # What a node that was not looked at has of an app's data only the record can tell.
        unseen = {n: "" for n in (record or {}).get("nodes", {}) if n not in site.observed}
        return replace(observed, warm=bluegreen.still(record, time.time()), data={**unseen, **observed.data})


@contextlib.contextmanager
def _without_tracebacks(*names):
    """Keep the tracebacks of Salt's loggers ``names`` off the terminal, unless it is to show what is for debugging."""

    def plain(record):
        record.msg, record.args, record.exc_info = words.without_traceback(record.getMessage()), (), None
        return True

    loggers = [logger for logger in map(logging.getLogger, names) if not logger.isEnabledFor(logging.DEBUG)]
    for logger in loggers:
        logger.addFilter(plain)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(plain)


def history(backend, prefix):
    """Return the entries of an app's history, the newest first."""
    entries = backend.read_all(records.history_key(prefix))
    return [entries[key] for key in sorted(entries, reverse=True)]


def running(record):
    """Return in words what ``record`` says runs."""
    nodes = (record or {}).get("nodes", {})
    counts = Counter(version_of(i) for ids in nodes.values() for i in ids)
    if not counts:
        return "nothing is published"
    parts = [f"{count} instance{'s' * (count != 1)} of {version}" for version, count in sorted(counts.items())]
    return f"{' and '.join(parts)} on {', '.join(sorted(nodes))}"


def look(result):
    """Return what to run to see what has become of an app."""
    return f"salt-run deploy.status {result['app']} env={result['environment']}"


def owner():
    """Return who runs this, and where."""
    return f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"


def _new_id():
    """Return the id of a deployment: sorts by time, and two at once differ."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
