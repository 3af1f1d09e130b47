"""An app in an environment with its connections open, and the steps that all verbs of the runner share."""

from __future__ import annotations

import contextlib
import datetime
import getpass
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import salt.pillar

from ... import definition, discovery
from ...core import arguments, bluegreen, names, records, words
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, Failed, Refused, cause, unchanged
from ...core.model import App, Environment, Source
from ...definition import cautions, inheritance, templateerrors
from .. import membership, notify, outcome, preflight
from ..journal import Journal
from ..lock import Lock
from ..remote.fleet import Fleet
from ..rollout.executor import Identity

# How long the catalog may take to follow a change of an agent, in seconds. It takes 0.1 if all is well.
FOLLOWS = 3.0
# The first part of a mistake's message. Only an operator who asks for that app needs the remedy.
FIRST = re.compile(r".*?(?=\. |\n|$)", re.DOTALL)
# How Salt says that it could not render a file of pillar.
SLS = re.compile(r"Rendering (SLS '[^']+') failed, render error:\s*(.*)", re.DOTALL)
# How the lock's message names a run that is no usual deployment.
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
    """One app in one environment, with open connections to its minions and to its discovery.

    :param app: its definition. After a look at the nodes, its stop timeout is the longest of definition and instances.
    :param nodes: the nodes that are to run the app.
    :param needed: the nodes that must answer.
    :param chosen: whether the operator chose the nodes. Then no others are looked at.
    :param choice: whether the verb has ``nodes=``, with which the operator can leave a node out.
    :param warn: called with each problem that does not stop the verb.
    :param known: ``(node, id)`` of the instances on the observed nodes.
    :param tolerated: services that an operator left to clients with ``keep``, by id and node.
    :param answering: nodes of the environment that answer. None until that is known.
    :param observed: nodes whose instances were looked at. None until that is known.
    """

    environment: Environment
    app: App
    fleet: Fleet
    discovery: object
    nodes: tuple[str, ...]
    needed: tuple[str, ...]
    chosen: bool = False
    choice: bool = True
    warn: Callable = lambda text: None
    known: frozenset = frozenset()
    tolerated: frozenset = frozenset()
    answering: list[str] | None = None
    observed: list[str] | None = None

    @property
    def prefix(self):
        return records.prefix(self.environment.name, self.app.name)

    def record(self):
        """Return the record of the instances that run now, None if nothing runs."""
        return self._used(records.read(self.discovery, self.prefix))

    def not_paused(self):
        """Raise Refused if a deployment is paused, and no other deployment may replace it."""
        sentence = records.paused(self.app.name, self.environment.name, self.record())
        if sentence and self.app.strategy.when_paused == "refuse":
            raise Refused(sentence)

    def history(self):
        """Return the entries of the history, the newest first."""
        return self._used(records.history(self.discovery, self.prefix))

    def _used(self, read):
        found, problems = read
        for problem in problems:
            self.warn(problem)
        return found

    def strangers(self, observed):
        """Return the Strangers: other services that clients find under the app's name."""
        ours, strangers = membership.divide(
            self.discovery.instances(self.app.name), self.app.name, self.environment, self.known
        )
        registered = {n: set() for n in observed.releases}
        for i in observed.instances:
            registered.setdefault(i.node, set()).update([i.id] if i.published else ())
        stale = membership.stale(ours, registered)
        if stale:
            # The catalog follows a change of an agent after a moment.
            lost = {(s.endpoint.minion, s.endpoint.id) for s in stale}

            def gone(found):
                lost.intersection_update({(e.minion, e.id) for e in found})
                return not lost

            self.discovery.wait(self.app.name, gone, time.monotonic() + FOLLOWS)
        return strangers + [s for s in stale if (s.endpoint.minion, s.endpoint.id) in lost]

    def refuse_strangers(self, observed, keep=False):
        """Raise Refused if clients get another service under the app's name. Warn of services that no client gets."""
        strangers = self._strangers_here(observed, keep)
        wrong = [s for s in strangers if not self.tolerates(s)]
        deployed = (self.record() or {}).get("version", "")
        membership.refuse(wrong, self.app.name, self.environment.name, deployed=deployed)
        self._tell(strangers)

    def tell_strangers(self, observed):
        """Warn of other services under the app's name, and of recorded instances outside of the environment."""
        self._tell(self._strangers_here(observed))

    def tolerates(self, stranger):
        """Return whether an operator left the Stranger to clients."""
        return stranger.kind is membership.Kind.FOREIGN and membership.where(stranger.endpoint) in self.tolerated

    def _strangers_here(self, observed, keep=False):
        """Return the Strangers. Tolerate foreign services if ``keep`` is set, or was set for them before."""
        strangers, before = self.strangers(observed), (self.record() or {}).get("tolerated", ())
        foreign = {membership.where(s.endpoint) for s in strangers if s.kind is membership.Kind.FOREIGN}
        self.tolerated = frozenset(foreign if keep else foreign.intersection(before))
        return strangers

    def _tell(self, strangers):
        for stranger in strangers:
            self.warn(membership.told(stranger, self.app.name, self.environment.name))
        for node, ids in (self.record() or {}).get("nodes", {}).items():
            if node not in self.environment.nodes:
                self.warn(f"{node} is no node of {self.environment.name}: the record has {', '.join(ids)} there.")


@dataclass(frozen=True)
class Task:
    """The work of a verb, once it is decided.

    :param version: the release that it is about.
    :param lines: the steps of the plan, in sentences.
    :param changes: whether there is anything to do.
    :param act: ``act(lock, identity)`` does the work. It returns the exit code, the reason, and the record afterwards.
    :param verdict: ``verdict(result)`` returns the outcome in words.
    :param more: further keys of the result.
    :param publishes: the task is done only if clients find the release.
    :param keep: clients may get other services, too.
    :param alone: clients may get no other release.
    :param removes: the task is done only if clients find nothing.
    :param restarts: ``(node, id)`` of the instances to restart. The task is done only if clients find all of them.
    :param actions: the plan as plain data, see explain.actions. None if the verb has no plan of instances.
    """

    version: str
    lines: list[str]
    changes: bool
    act: Callable
    verdict: Callable
    more: dict = field(default_factory=dict)
    publishes: bool = False
    keep: bool = False
    alone: bool = False
    removes: bool = False
    restarts: frozenset = frozenset()
    actions: dict | None = None


class Verbs:
    """The base of all verbs, on the master.

    :param opts: the master's options (``__opts__`` of a runner).
    :param emit: called with each event of the journal as it happens.
    :param user: the caller, if Salt knows it.
    """

    def __init__(self, opts, emit=lambda event: None, user=None):
        self.opts, self.journal, self.owner = opts, Journal(emit), owner(user)

    def _carry_out(self, site, verb, decide, reason, test):
        """Observe, decide and act, with the lock held, and write the history if anything changed.

        :param decide: ``decide(observed)`` returns a Task.
        """
        about = {"app": site.app.name, "environment": site.environment.name}
        reason = arguments.text("reason", reason, arguments.REASON) or ""
        if test:
            with unchanged():
                task = decide(self._observe(site))
            told = {"plan": task.lines, "actions": task.actions, "warnings": self.journal.warnings}
            return {**about, "version": task.version, **task.more, **told, "retcode": DONE}
        began = time.time()
        identity = Identity(_new_id(), self.owner, reason)
        who = {"deployment": identity.id, "owner": identity.owner, "reason": reason}
        info = {**who, **about, "doing": DOING.get(verb, "deployed")}
        notifier = notify.Notifier(self.opts, self.journal, site.environment.webhook, {**about, **who, "verb": verb})
        with notifier, Lock(site.discovery, records.lock_key(site.prefix), info) as lock:
            with unchanged():
                task = decide(self._observe(site, identity.id))
            for line in task.lines:
                self.journal.say(line)
            if task.changes:
                notifier.begin(task.version, task.lines, site.nodes)
            before = outcome.look(site)
            code, why, record = task.act(lock, identity)
            only = task.version if code == DONE and task.publishes and task.alone else ""
            serving = outcome.look(site, outcome.expected(task, code, before, record), only)
            untrue = outcome.judge(task, code, serving)
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
                "serving": serving,
                **({"untrue": untrue, "acted": code} if untrue else {}),
                "retcode": NOT_REVERTED if untrue else code,
            }
            result["verdict"] = task.verdict(result)
            notifier.end(result)
            if task.changes:
                self._remember(site, lock, identity, result)
        return result

    def _remember(self, site, lock, identity, result):
        """Write ``result`` to the history. If that fails, the result is still reported."""
        try:
            old = records.surplus([key for key, _ in site.discovery.entries(records.history_key(site.prefix))])
            lock.write({records.history_key(site.prefix, identity.id): records.cut(result)}, old)
        except (Failed, *INTERRUPTS) as exc:
            self.journal.warn(f"the history of this run could not be written: {cause(exc)}")

    # -- ways in ------------------------------------------------------------------------------

    @unchanged()
    def _environment(self, env, app=None, choose=True):
        """Return the Environment ``env``. Without ``env``, return the only one, or the only Environment with ``app``.

        :param choose: False never chooses by the app. It only reports the app's mistakes with the environment's.
        """
        app = arguments.one_name(app)
        # Salt hides the mistakes in pillar files from minions. The master's own user may see them.
        opts = {**self.opts, "pillar_safe_render_error": False}
        with templateerrors.quiet():
            pillar = salt.pillar.Pillar(opts, {}, opts["id"], opts.get("saltenv") or "base").compile_pillar()
        pillar = _with_errors(pillar)
        unread = inheritance.unread(pillar)
        if not pillar.get("environments"):
            raise Refused(
                f"this master's own pillar has no environments: in pillar/top.sls, give {self.opts['id']!r}"
                f" (its id) environments.all, and define one in pillar/environments/.{inheritance.left_out(unread)}"
            )
        env = arguments.word(env)
        name = definition.only_with(pillar, app) if choose and env is None and app else env
        return definition.load(pillar, name, app=app)

    def _definitions(self, name, env, looking=False, starts=False):
        """Return the environment, and the app whose definition a verb needs.

        :param looking: the verb changes nothing, so it may choose the only environment that has the app.
        :param starts: the verb starts instances at the operator's request. An app that clashes with another is refused.
        """
        environment, name = self._named(name, env, looking)
        app = definition.find_app(environment, name)
        if starts:
            definition.refuse_clash(environment, app)
        elif name in environment.clashing:
            self._warn(words.message(environment.clashing[name]))
        return environment, app

    def _known(self, name, env, looking=False):
        """Return the environment, and an app by its name alone, because its own definition may be wrong."""
        environment, name = self._named(name, env, looking)
        return environment, definition.known_by_name(environment, name)

    def _named(self, name, env, looking=False):
        environment = self._environment_of(name, env, looking)
        return environment, definition.find_name(environment, arguments.word(name))

    def _defined_or_not(self, name, env, looking=False):
        """Return the environment, and the app, or a stand-in if the environment does not define the app."""
        environment, word = self._environment_of(name, env, looking), arguments.word(name)
        if not names.NAME.fullmatch(word):
            definition.find_name(environment, word)  # Its message names a similar app.
        other = stand_in(word)
        return environment, environment.apps.get(other.name, other)

    def _environment_of(self, name, env, looking=False):
        if not name:
            raise Refused("which app? Say its name first, for example: salt-run deploy.app shop")
        name = arguments.one_name(name)
        environment = self._environment(env, name, choose=looking)
        self._warn_of_others(environment, name)
        return environment

    def _warn(self, text):
        """Warn once with ``text``."""
        if text not in self.journal.warnings:
            self.journal.warn(text)

    def _warn_of_others(self, environment, name=None):
        """Warn of the mistakes in other definitions, in one line. They do not stop the verb."""
        others = {app: why for app, why in environment.broken.items() if app != name}
        files = {} if name in environment.broken else environment.unread
        said = [f"{what} ({FIRST.match(why)[0].rstrip('.')})" for what, why in {**files, **others}.items()]
        if said:
            self._warn(words.message(f"left out, because of mistakes in them: {', '.join(said)}"))

    @contextlib.contextmanager
    def _site(self, environment, app, nodes=None, choice=True, back=False):
        """Check the preconditions of a start of instances, and yield the Site.

        :param choice: whether the verb has ``nodes=``.
        :param back: whether the verb goes back to an earlier state. Then no other app need be healthy.
        """
        chosen = arguments.nodes(environment, app, nodes)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            preflight.requirements(backend, replace(app, requires=()) if back else app, environment)
            yield Site(environment, app, fleet, backend, chosen, chosen, nodes is not None, choice, self._warn)

    @contextlib.contextmanager
    def _whole_site(self, environment, app):
        """Yield the Site of a verb for all existing instances. The nodes that the record names must answer."""
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            backend.leader()
            everywhere = tuple(environment.nodes)
            site = Site(environment, app, fleet, backend, everywhere, (), choice=False, warn=self._warn)
            recorded = (site.record() or {}).get("nodes", {})
            site.needed = tuple(n for n in environment.nodes if n in recorded)
            for node in sorted(set(recorded) - set(environment.nodes)):
                self._warn(f"{node} is no node of {environment.name} any more: its instances are not seen.")
            yield site

    def _advise(self, site, acts=False):
        """Warn of settings in the definitions of app and environment that their authors may not have intended.

        :param acts: the plan is carried out. Then only warn of lost requests, because a dry run shows the rest.
        """
        everything = (*cautions.of(site.app), *cautions.of_environment(site.environment))
        for warning in cautions.unseen_hang(site.app) if acts else everything:
            self.journal.warn(warning)

    def _observe(self, site, deployment=None):
        observed, record = preflight.observe(site, self.journal, deployment), site.record()
        site.known = frozenset((i.node, i.id) for i in observed.instances)
        # An instance keeps the timeout that it was started with, even if its definition has changed since.
        stop = replace(site.app.stop, timeout=max(site.app.stop.timeout, observed.stop_timeout))
        site.app = replace(site.app, stop=stop)
        had = (record or {}).get("data", [])
        # If a node does not answer, only the record knows whether it has data of the app.
        unseen = {n: "" for n in {*had, *(record or {}).get("nodes", {})} if n not in site.answering}
        return replace(
            observed,
            warm=bluegreen.still(record, time.time()),
            data={**unseen, **observed.data},
            lost=frozenset(had) & set(site.answering) - set(observed.data),
        )


def _with_errors(pillar):
    """Return a pillar in which the files that Salt could not render are among the files that are left out.

    Salt shows the text around a mistake, which may contain a secret. So only the problem is kept.
    """
    found = dict(inheritance.unread(pillar))
    for number, error in enumerate(pillar.get("_errors") or (), 1):
        match = SLS.match(words.without_traceback(str(error)))
        file, why = match.groups() if match else (f"pillar ({number})", str(error).splitlines()[0])
        found[file] = templateerrors.first_line(why)
    return {**pillar, "saltdeploy_broken": found}


def stand_in(name):
    """Return an App without a definition, to remove its instances. Raises Refused if ``name`` is no app's name."""
    return App(names.app(name), Source("", ""), "")


def owner(user=None):
    """Return the operator and the host of this run.

    :param user: the user that Salt has authenticated: ``sudo_ann`` for Ann by sudo, ``UNKNOWN`` for an unknown user.
    """
    known = user.removeprefix("sudo_") if isinstance(user, str) and user != "UNKNOWN" else ""
    return f"{known or os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"


def _new_id():
    """Return the id of a deployment. Ids sort by time, and two at the same time differ."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
