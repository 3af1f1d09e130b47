"""``deploy.watch``: deploys the newest version that the source of an app has, once or again and again.

It also deploys an app with ``follow`` again if the services that it follows have other addresses.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import discovery
from ...core import arguments, changes, editions, records, versions, words
from ...core.errors import DONE, INTERRUPTS, NOT_REVERTED, REFUSED, Failed, Refused
from .. import preflight, sidebyside
from ..outcome import Outcome
from ..status import State
from . import deploy, guard
from . import status as app_status

if TYPE_CHECKING:
    from ...core.entries import Entry
    from ...core.environment import Environment
    from ...core.model import App
    from .session import Session
    from .task import Result

# The verbs that bring another release because somebody asks for it.
BRINGING = ("deploy", "publish", "rollback", "abort")
REASON, MOVED = "deploy.watch found a new version", "deploy.watch found other settings ({})"


@dataclass
class Look:
    """The result of a look at the source.

    :param version: the newest version. ``deployed`` is the deployed version, empty if nothing is deployed.
    :param moved: the settings that differ, in words, if the app follows services. They may have other addresses.
    :param failed: the entry of the history with which this version failed or was left, None if there is none.
    :param known: the answers of the nodes, for the next look.
    """

    environment: Environment
    app: App
    version: str
    deployed: str
    moved: str = ""
    failed: Entry | None = None
    known: dict[str, str] = field(default_factory=dict)

    @property
    def is_new(self) -> bool:
        """Whether the newest version is to be deployed, or deployed again."""
        return bool(self.version != self.deployed or self.moved) and not self.failed

    @property
    def is_settled(self) -> bool:
        """Whether the files have not changed for a moment. An editor, or git, may be writing several files."""
        return self.app.source.kind != "path" or bool(self.known)


def run(session: Session, name: object, env: object, every: object, test: bool, reason: object) -> Result:
    """Deploy the newest version of app ``name``, if it is not deployed.

    :param every: how long to wait until the next look, None for a single look.
    :param test: True returns the plan of the deployment.
    """
    if every is None:
        look = _look(session, name, env)
        return _deploy(session, look, test, reason) if look.is_new else _unchanged(session, look)
    if not isinstance(every, str):
        raise Refused(f"every={words.shown(every)}: write a number and its unit, for example every=2s")
    pause = arguments.seconds("every", every)
    if test:
        raise Refused("every=, test=: say one of them. A dry run is a single look.")
    return _go_on(session, name, env, pause, reason)


def _look(session: Session, name: object, env: object, known: Mapping[str, str] | None = None) -> Look:
    """Look at the source, and at the history of the newest version.

    :param known: the answers of an earlier look.
    """
    environment, app = session.definitions(name, env, starts=True)
    with session.site(environment, app, choice=False) as site:
        deployed = editions.release((site.record() or records.NOTHING)["version"])
        version, known = preflight.newest(site, deployed, known)
        failed = None if version == deployed else _failed(site.history(), versions.check(app, version))
        stays = deployed and (failed or version == deployed)
        moved = _other_settings(session, environment, app) if stays and app.follow else ""
    if moved:
        version, failed = deployed, None
    return Look(environment, app, version, deployed, moved, failed, known)


def _other_settings(session: Session, environment: Environment, app: App) -> str:
    """Return the settings that differ from the definition on an instance of ``app`` that clients find, in words."""
    [shown] = app_status.run(session, app.name, environment.name)["apps"]
    found = (row["settings"] for row in shown["instances"] if row["state"] == State.PUBLISHED.value)
    return next((changes.told(settings) for settings in found if settings), "")


def _failed(history: Iterable[Entry], version: str) -> Entry | None:
    """Return the entry with which ``version`` failed or was left, None if something else came afterwards.

    So is the entry of a removal, and of a deployment that left candidates which somebody is to publish.

    :param history: entries, the newest first.
    """
    for entry in history:
        if editions.release(entry.get("left", "")) == version or entry.get("verb") == "remove":
            return entry
        if entry.get("verb", "deploy") in BRINGING:
            its = editions.release(entry["version"]) == version
            published = (entry["record"] or records.NOTHING)["version"] == entry["version"]
            return entry if its and (entry["retcode"] != DONE or not published) else None
    return None


def _deploy(session: Session, look: Look, test: bool, reason: object) -> Result:
    """Deploy the version that ``look`` found, as ``deploy.app`` does."""
    app, environment = look.app, look.environment
    why = reason or (MOVED.format(look.moved) if look.moved else REASON)
    result = deploy.run(session, app.name, environment.name, look.version, None, None, True, test, False, why, False)
    others = [] if test or result.get("outcome") != Outcome.DONE else _elsewhere(session, look)
    return {**result, "verdict": " ".join([result["verdict"], *others])} if others else result


def _elsewhere(session: Session, look: Look) -> list[str]:
    """Return a sentence on each environment in which the app has another version."""
    here, app = look.environment.name, look.app.name
    if look.app.source.kind == "path":
        return []  # nobody else has the folder
    found = []
    for other in sorted(session.pillar()["environments"]):
        with suppress(Refused, Failed):
            environment = session.load(session.pillar(), other)
            if other == here or app not in environment.apps or environment.apps[app].source.kind == "path":
                continue
            with discovery.connect(environment.discovery) as backend:
                record = records.read(backend, records.prefix(other, app))[0]
            if record and editions.release(record["version"]) != look.version:
                way = f"salt-run deploy.app {app} env={other} from_env={here}"
                found.append(f"({other} has {editions.told(record['version'])}. To take it there: {way})")
    return found


def _unchanged(session: Session, look: Look) -> Result:
    """Return the result of a look after which nothing is deployed."""
    app, env, version = look.app.name, look.environment.name, look.version
    verdict = f"No new version: {app} {version} is deployed in {env}."
    if look.failed:
        verdict = (
            f"{app} {version} is not tried again: see deployment {look.failed['deployment']} in {env}. It failed, or"
            " somebody went back from it, removed the app, or is to publish its candidates. Another version is tried."
            f" To try this one: salt-run deploy.app {app} {versions.argument(version)} env={env}"
        )
    about = {"app": app, "environment": env, "version": version, "changed": False}
    return {**about, "verdict": verdict, "warnings": session.journal.warnings, "retcode": DONE}


def _go_on(session: Session, name: object, env: object, pause: float, reason: object) -> Result:
    """Look again and again until an interrupt, and deploy each new version. A failure ends nothing.

    :param pause: the time between two looks, in seconds.
    """
    watching = _Watching(session, name, env, reason)
    environment, app = session.definitions(name, env, starts=True)
    session.journal.say(f"watches the source of {app.name} for {environment.name}, until Ctrl-C")
    with sidebyside.Interrupts() as interrupts, suppress(*INTERRUPTS):
        while not interrupts.count:
            watching.once()
            if not interrupts.count:
                time.sleep(pause)
    return watching.result(app.name, environment.name)


class _Watching:
    """The looks of a run that goes on until it is interrupted."""

    def __init__(self, session: Session, name: object, env: object, reason: object) -> None:
        self.session, self.name, self.env, self.reason = session, name, env, reason
        self.done = self.bad = 0
        self.last: Result = {}
        self._known: dict[str, str] | None = None
        self._pillar: dict[str, Any] | None = None
        # The settings that differed at the last look.
        self._moved = self._said = ""

    def once(self) -> None:
        """Look once, and deploy a new version."""
        own = self.session.beside(self.session.emit, self._pillar)
        found: list[Look] = []

        def attempt() -> Result:
            found.append(_look(own, self.name, self.env, self._known))
            if not found[0].is_new:
                return _unchanged(own, found[0])
            if found[0].moved != self._moved:
                return {"verdict": "the addresses change: waits until they stay as they are", "retcode": REFUSED}
            if not found[0].is_settled:
                return {"verdict": "the files change: waits until they stay as they are", "retcode": REFUSED}
            # A definition may have changed since the first look.
            fresh = self.session.beside(self.session.emit, None)
            return _deploy(fresh, found[0], False, self.reason)

        result = guard.attempt(attempt, lambda: not (found and found[0].is_new))
        self._moved = found[0].moved if found else ""
        tried = bool(found) and found[0].is_new and result["retcode"] != REFUSED
        # After anything but a look that found nothing, the definition and the files are looked at from the beginning.
        quiet = result["retcode"] == DONE and not tried
        self._pillar = own.pillar() if quiet else None
        self._known = found[0].known if quiet else None
        if tried:
            self.last, self.done, self.bad = result, self.done + 1, self.bad + (result["retcode"] != DONE)
        # After a deployment, its verdict says how the app is.
        known = quiet and self.done
        if not known and result["verdict"] != self._said:
            self._said = result["verdict"]
            self.session.journal.say(self._said)

    def result(self, app: str, env: str) -> Result:
        """Return the result of the whole run."""
        failed = f", {self.bad} of them failed" if self.bad else ""
        verdict = f"stopped watching {app} in {env}: {self.done} deployment{'s' * (self.done != 1)}{failed}"
        unclear = self.last.get("retcode") == NOT_REVERTED
        return {
            "app": app,
            "environment": env,
            "verdict": self.last["verdict"] if unclear else verdict,
            "warnings": self.session.journal.warnings,
            "retcode": NOT_REVERTED if unclear else DONE,
        }
