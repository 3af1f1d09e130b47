"""The call of a verb: the caller, the journal, and the ways from arguments to an app in an environment."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import salt.pillar

from ... import definition, discovery
from ...core import arguments, bluegreen, names, records, words
from ...core.environment import Environment
from ...core.errors import Refused, unchanged
from ...core.instanceids import version_of
from ...core.model import App, undefined
from ...definition import cautions, conditions, inheritance, templateerrors
from .. import preflight, signals
from ..conditions import person
from ..journal import Journal
from ..remote.fleet import Fleet
from .appsite import Site

if TYPE_CHECKING:
    from ...discovery.backend import Backend
    from ...planning.model import Observed

# The end of the first part of a mistake's message. Only an operator who asks for that app needs the remedy.
FIRST = re.compile(r"\. |\n")
# How Salt says that it could not render a file of pillar.
SLS = re.compile(r"Rendering (SLS '[^']+') failed, render error:\s*(.*)", re.DOTALL)


class Session:
    """One call of a verb, on the master.

    :param opts: the master's options (``__opts__`` of a runner).
    :param emit: called with each event of the journal as it happens.
    :param user: the caller, if Salt knows it.

    ``force`` says whether the caller goes beyond the windows of the environment. ``allowed`` says whether the
    environment has allowed this call, or another call allowed it. ``away`` has nodes that count as out of use, or as in
    use, whatever discovery says. ``skip_absent`` leaves out nodes that do not answer, and ``absent`` has these once
    somebody has looked.
    ``forget`` has the record lose instances on nodes that the environment does not have any more. ``facts`` are for the
    history of this call.
    """

    def __init__(
        self, opts: Mapping[str, Any], emit: Callable[[Any], None] = lambda event: None, user: object = None
    ) -> None:
        self.opts, self.emit, self.journal, self.owner = opts, emit, Journal(emit), owner(user)
        self._pillar: dict[str, Any] | None = None
        self.force = self.allowed = self.skip_absent = self.forget = False
        self.absent: frozenset[str] | None = None
        self.away: dict[str, bool] = {}
        self.facts: dict[str, Any] = {}

    def beside(self, emit: Callable[[Any], None], pillar: dict[str, Any] | None) -> Session:
        """Return the Session of a further verb of the same caller, with the definitions of ``pillar``.

        :param pillar: None reads the definitions again.
        """
        session = Session(self.opts, emit)
        session.owner, session._pillar, session.force = self.owner, pillar, self.force
        session.away, session.skip_absent, session.forget = self.away, self.skip_absent, self.forget
        session.absent = self.absent
        return session

    # -- definitions --------------------------------------------------------------------------

    @unchanged()
    def environment(self, env: object, app: object = None, choose: bool = True) -> Environment:
        """Return the Environment ``env``. Without ``env``, return the only one, or the only Environment with ``app``.

        :param choose: False never chooses by the app. It only reports the app's mistakes with the environment's.
        """
        app = arguments.one_name(app)
        pillar = self.pillar()
        env = arguments.word(env)
        name = definition.only_with(pillar, app) if choose and env is None and app else env
        return self.load(pillar, definition.choose_environment(pillar, name), app)

    def load(self, pillar: Mapping[str, Any], name: str, app: str | None = None) -> Environment:
        """Return the Environment ``name`` of ``pillar``, for all verbs. Raise Refused if the caller may not use it.

        :param app: as for definition.load.
        """
        against = self.no_operator(pillar, name)
        if against:
            raise Refused(against)
        return definition.load(pillar, name, app=app)

    def no_operator(self, pillar: Mapping[str, Any], name: str) -> str:
        """Return why the caller may not use the environment ``name`` of ``pillar``. Empty if the caller may."""
        operators, who = conditions.operators(pillar["environments"][name]), person(self.owner)
        if operators is None or who in operators:
            return ""
        return f"{who} may not use {name}: environments:{name}:operators has {words.listed(operators)}."

    @unchanged()
    def pillar(self) -> dict[str, Any]:
        """Return the master's own pillar, with all environments and apps.

        :raises Refused: it has no environment.
        """
        if self._pillar is not None:
            return self._pillar
        # Salt hides the mistakes in pillar files from minions. The master's own user may see them.
        opts = {**self.opts, "pillar_safe_render_error": False}
        with templateerrors.quiet():
            pillar = salt.pillar.Pillar(opts, {}, opts["id"], opts.get("saltenv") or "base").compile_pillar()
        pillar = _with_errors(pillar)
        if not pillar.get("environments"):
            unread = inheritance.left_out(inheritance.unread(pillar))
            raise Refused(
                f"this master's own pillar has no environments: in pillar/top.sls, give {self.opts['id']!r}"
                f" (its id) environments.all, and define one in pillar/environments/.{unread}"
            )
        return pillar

    def definitions(
        self, name: object, env: object, looking: bool = False, starts: bool = False
    ) -> tuple[Environment, App]:
        """Return the environment, and the app whose definition a verb needs.

        :param looking: the verb changes nothing, so it may choose the only environment that has the app.
        :param starts: the verb starts instances at the operator's request. An app that clashes with another is refused.
        """
        environment, word = self._environment_of(name, env, looking)
        app = definition.find_app(environment, definition.find_name(environment, word))
        if starts:
            definition.refuse_clash(environment, app)
        elif app.name in environment.clashing:
            self.warn(words.message(environment.clashing[app.name]))
        return environment, app

    def known(self, name: object, env: object, looking: bool = False) -> tuple[Environment, App]:
        """Return the environment, and an app by its name alone, because its own definition may be wrong."""
        environment, word = self._environment_of(name, env, looking)
        return environment, definition.known_by_name(environment, definition.find_name(environment, word))

    def defined_or_not(self, name: object, env: object, looking: bool = False) -> tuple[Environment, App]:
        """Return the environment, and the app, or a stand-in if the environment does not define the app."""
        environment, word = self._environment_of(name, env, looking)
        if not names.NAME.fullmatch(word):
            definition.find_name(environment, word)  # Its message names a similar app.
        other = stand_in(word)
        return environment, environment.apps.get(other.name, other)

    def _environment_of(self, name: object, env: object, looking: bool) -> tuple[Environment, str]:
        """Return the environment, and the name of the app as text."""
        word = arguments.one_name(name) if name else None
        if not word:
            raise Refused("which app? Say its name first, for example: salt-run deploy.app shop")
        environment = self.environment(env, word, choose=looking)
        self.warn_of_others(environment, word)
        return environment, word

    # -- warnings -----------------------------------------------------------------------------

    def warn(self, text: str) -> None:
        """Warn once with ``text``."""
        if text not in self.journal.warnings:
            self.journal.warn(text)

    def warn_of_others(self, environment: Environment, name: str | None = None) -> None:
        """Warn of the mistakes in other definitions, in one line. They do not stop the verb."""
        others = {app: why for app, why in environment.broken.items() if app != name}
        files = {} if name in environment.broken else environment.unread
        wrong = [f"{what} ({FIRST.split(why, 1)[0].rstrip('.')})" for what, why in {**files, **others}.items()]
        if wrong:
            self.warn(words.message(f"left out, because of mistakes in them: {', '.join(wrong)}"))

    def advise(self, site: Site, acts: bool = False) -> None:
        """Warn of settings in the definitions of app and environment that their authors may not have intended.

        :param acts: the plan is carried out. Then only warn of lost requests, because a dry run shows the rest.
        """
        everything = (*cautions.of(site.app), *cautions.of_environment(site.environment))
        for warning in cautions.unseen_hang(site.app) if acts else everything:
            self.journal.warn(warning)

    # -- connections --------------------------------------------------------------------------

    @contextlib.contextmanager
    def site(
        self,
        environment: Environment,
        app: App,
        nodes: object = None,
        choice: bool = True,
        back: bool = False,
        presumed: Collection[str] = (),
        places: bool = True,
        skips: bool = True,
    ) -> Iterator[Site]:
        """Check the preconditions of a start of instances, and yield the Site.

        :param choice: whether the verb has ``nodes=``.
        :param back: whether the verb goes back to an earlier state. Then no other app need be healthy.
        :param presumed: names of services that need not be healthy yet.
        :param places: whether the verb may start instances. Then no nodes are chosen that are out of use.
        :param skips: whether the verb has ``skip_absent``.
        """
        chosen = arguments.nodes(environment, app, nodes)
        required = () if back else tuple(name for name in app.requires if name not in presumed)
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            preflight.requirements(backend, replace(app, requires=required), environment)
            if not back:
                preflight.rights(backend, app, environment)
            silent = self.look_for_absent(fleet, environment) if places else frozenset()
            away = self.out_of_use(backend, environment) if places else {}
            absent: set[str] = set()
            if away:
                # An evacuated node owes nothing, nor does a node that may not run the app.
                absent = set(silent) & set(chosen) - set(records.away(backend, environment.name))
                environment = replace(environment, away=away)
                chosen = arguments.nodes(environment, app, nodes)
            site = Site(environment, app, fleet, backend, chosen, chosen, nodes is not None, choice, self.warn)
            site.places, site.skips, site.forget, site.absent = places, skips and places, self.forget, frozenset(absent)
            yield site

    def look_for_absent(self, fleet: Fleet, environment: Environment) -> frozenset[str]:
        """Return the nodes that do not answer, if they are to be left out. Nobody looks twice."""
        if self.skip_absent and self.absent is None:
            replies = fleet.run("test.ping", environment.nodes)
            self.absent = frozenset(node for node, reply in replies.items() if reply.silent)
        return self.absent or frozenset()

    def out_of_use(self, backend: Backend, environment: Environment) -> dict[str, str]:
        """Return the nodes that are out of use, and why."""
        found = {node: f"{node} does not answer, and is left out (skip_absent)" for node in self.absent or ()}
        found.update(records.away(backend, environment.name))
        found.update({node: f"{node} is to be out of use" for node, away in self.away.items() if away})
        return {node: why for node, why in found.items() if node in environment.nodes and self.away.get(node, True)}

    def marked(self, environment: Environment) -> set[str]:
        """Return the nodes that are out of use, if no connection to discovery is open yet."""
        with discovery.connect(environment.discovery) as backend:
            return set(self.out_of_use(backend, environment))

    def refuse_other_nodes(self, site: Site) -> None:
        """Raise Refused if nodes came out of use, or back, after ``site`` was made, for example during a wait."""
        now = self.out_of_use(site.discovery, site.environment)
        changed = sorted(set(now) ^ set(site.environment.away)) if site.places else []
        if changed:
            raise Refused(f"{', '.join(changed)}: went out of use or came back meanwhile. Run it again.")

    @contextlib.contextmanager
    def whole_site(self, environment: Environment, app: App) -> Iterator[Site]:
        """Yield the Site of a verb for all existing instances. The nodes that the record names must answer."""
        with discovery.connect(environment.discovery) as backend, Fleet(self.opts) as fleet:
            backend.leader()
            everywhere = tuple(environment.nodes)
            site = Site(environment, app, fleet, backend, everywhere, (), choice=False, warn=self.warn)
            recorded = (site.record() or records.NOTHING)["nodes"]
            site.needed = tuple(n for n in environment.nodes if n in recorded)
            for node in sorted(set(recorded) - set(environment.nodes)):
                self.warn(f"{node} is no node of {environment.name} any more: its instances are not seen.")
            yield site

    def observe(self, site: Site, deployment: str | None = None) -> Observed:
        """Return the state of the app on the nodes and by the record.

        :param deployment: the id of the run that has the app's lock. From then on, nodes refuse jobs of earlier runs.
        """
        observed, record = preflight.observe(site, self.journal, deployment), site.record()
        site.known = frozenset((i.node, i.id) for i in observed.instances)
        # An instance keeps the timeout that it was started with, even if its definition has changed since.
        stop = replace(site.app.stop, timeout=max(site.app.stop.timeout, observed.stop_timeout))
        site.app = replace(site.app, stop=stop)
        if record and site.forget:
            there = {node: ids for node, ids in record["nodes"].items() if node in site.environment.nodes}
            data = [node for node in record.get("data", ()) if node in site.environment.nodes]
            record = {**record, "nodes": there, "data": data}
        had = (record or records.NOTHING).get("data", [])
        # If a node does not answer, only the record knows whether it has data of the app.
        unseen = {n: "" for n in {*had, *(record or records.NOTHING)["nodes"]} if n not in site.answering}
        # Nobody can tell whether a node that does not answer has settings as defined.
        silent = {n: ids for n, ids in (record or records.NOTHING)["nodes"].items() if n not in site.answering}
        kept = {node: dict.fromkeys(map(version_of, ids)) for node, ids in silent.items()}
        return replace(
            observed,
            editions={**kept, **observed.editions},
            warm=bluegreen.still(record, time.time()),
            data={**unseen, **observed.data},
            lost=frozenset(had) & set(site.answering) - set(observed.data),
        )


def of_runner(
    opts: Mapping[str, Any],
    found: Mapping[str, Any],
    force: bool = False,
    reason: object = "",
    skip_absent: bool = False,
    forget: bool = False,
) -> Session:
    """Return the Session of a call of a runner.

    :param opts: its ``__opts__``.
    :param found: its ``globals()``. Salt puts the authenticated user and the bus into the module. A user of salt-api is
        not the master's own user.
    :param force: whether to go beyond the windows of the environment, which needs a ``reason``.
    :param skip_absent, forget: as for Session.
    """
    if force and not reason:
        raise Refused("force=True: say the reason, reason=…")

    # All runs that a reactor starts share the module, and Salt puts the bus of the newest run into it.
    bus = found.get("__jid_event__")

    def emit(event: Any) -> None:
        # A reader that has gone away must not stop a deployment half way, nor the end of the run that owns the bus.
        with contextlib.suppress(OSError, ReferenceError), signals.held():
            if bus:
                bus.fire_event({"message": event, "outputter": "deploy"}, "progress")
                sys.stdout.flush()

    session = Session(opts, emit, found.get("__user__"))
    session.force, session.skip_absent, session.forget = force, skip_absent, forget
    return session


def _with_errors(pillar: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pillar in which the files that Salt could not render are among the files that are left out.

    Salt shows the text around a mistake, which may contain a secret. So only the problem is kept.
    """
    found = dict(inheritance.unread(pillar))
    for number, error in enumerate(pillar.get("_errors") or (), 1):
        match = SLS.match(words.without_traceback(str(error)))
        file, why = match.groups() if match else (f"pillar ({number})", str(error).splitlines()[0])
        found[file] = templateerrors.first_line(why)
    return {**pillar, "saltdeploy_broken": found}


def stand_in(name: str) -> App:
    """Return an App without a definition, to remove its instances. Raises Refused if ``name`` is no app's name."""
    return undefined(names.app(name))


def owner(user: object = None) -> str:
    """Return the operator and the host of this run.

    :param user: the user that Salt has authenticated: ``sudo_ann`` for Ann by sudo, ``UNKNOWN`` for an unknown user.
    """
    sudo = os.environ.get("SUDO_USER")
    # An account of external_auth may have such a name, too. It is not Ann's.
    known = user if isinstance(user, str) and user not in ("UNKNOWN", f"sudo_{sudo}") else ""
    return f"{known or sudo or getpass.getuser()}@{socket.gethostname()}"
