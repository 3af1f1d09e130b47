"""An app in an environment with its doors open, and what all verbs of the runner do alike."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import os
import re
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import salt.pillar

from . import (
    arguments,
    bluegreen,
    definition,
    discovery,
    inheritance,
    notify,
    preflight,
    records,
    rendering,
    words,
)
from .errors import DONE, INTERRUPTS, Failed, Refused, cause, unchanged
from .executor import Identity
from .fleet import Fleet
from .journal import Journal
from .lock import Lock
from .model import App, Environment, version_of

# What is said first of a mistake: what is to be done is for who asks for that app.
FIRST = re.compile(r".*?(?=\. |\n|$)", re.DOTALL)
# How Salt says that it could not render a file of pillar.
SLS = re.compile(r"Rendering (SLS '[^']+') failed, render error:\s*(.*)", re.DOTALL)
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
            with unchanged():
                task = decide(self._observe(site))
            return {**about, "version": task.version, **task.more, "plan": task.lines, "retcode": DONE}
        began = time.time()
        identity = Identity(_new_id(), owner(), reason)
        who = {"deployment": identity.id, "owner": identity.owner, "reason": reason}
        info = {**who, **about, "doing": DOING.get(verb, "deployed")}
        notifier = notify.Notifier(self.opts, self.journal, site.environment.webhook, {**about, **who, "verb": verb})
        with notifier, Lock(site.discovery, records.lock_key(site.prefix), info) as lock:
            with unchanged():
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

    @unchanged()
    def _environment(self, env):
        # To a minion Salt does not say what is wrong with a pillar file; the master's own user may know.
        opts = {**self.opts, "pillar_safe_render_error": False}
        with rendering.quiet():
            pillar = salt.pillar.Pillar(opts, {}, opts["id"], opts.get("saltenv") or "base").compile_pillar()
        pillar = _with_errors(pillar)
        unread = inheritance.unread(pillar)
        if not pillar.get("environments"):
            raise Refused(
                f"this master's own pillar has no environments: in pillar/top.sls, give {self.opts['id']!r}"
                f" (its id) environments.all, and define one in pillar/environments/.{inheritance.left_out(unread)}"
            )
        return definition.load(pillar, arguments.word(env))

    def _definitions(self, name, env):
        """Return the environment, and the app whose definition a verb needs."""
        environment, name = self._named(name, env)
        return environment, definition.find_app(environment, name)

    def _known(self, name, env):
        """Return the environment, and an app by its name alone: its own definition may be wrong."""
        environment, name = self._named(name, env)
        return environment, definition.known_by_name(environment, name)

    def _named(self, name, env):
        if not name:
            raise Refused("which app? Say its name first, for example: salt-run deploy.app shop")
        environment, name = self._environment(env), arguments.word(name)
        definition.find_name(environment, name)
        self._warn_of_others(environment, name)
        return environment, name

    def _warn_of_others(self, environment, name=None):
        """Tell what is wrong with other definitions, in a line, once: it stands in nobody's way."""
        others = {app: why for app, why in environment.broken.items() if app != name}
        files = {} if name in environment.broken else environment.unread
        said = [f"{what} ({FIRST.match(why)[0].rstrip('.')})" for what, why in {**files, **others}.items()]
        if said:
            warning = words.message(f"left out, because of mistakes in them: {', '.join(said)}")
            if warning not in self.journal.warnings:
                self.journal.warn(warning)

    @contextlib.contextmanager
    def _site(self, environment, app, nodes=None, choice=True):
        """Preflight of what starts instances, with both doors open.

        :param choice: whether the verb has ``nodes=``.
        """
        chosen = arguments.nodes(environment, app, nodes)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            preflight.requirements(backend, app, environment.apps)
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
        observed = preflight.observe(site, self.journal)
        return replace(observed, warm=bluegreen.still(site.record(), time.time()))


def _with_errors(pillar):
    """Return a pillar with what Salt could not render of it among the files that are left out.

    Salt shows the text around a mistake, in which a secret may be: only what is wrong is kept.
    """
    found = dict(inheritance.unread(pillar))
    for number, error in enumerate(pillar.get("_errors") or (), 1):
        match = SLS.match(words.without_traceback(str(error)))
        file, why = match.groups() if match else (f"pillar ({number})", str(error).splitlines()[0])
        found[file] = rendering.first_line(why)
    return {**pillar, "saltdeploy_broken": found}


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
