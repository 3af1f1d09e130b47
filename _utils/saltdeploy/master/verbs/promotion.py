"""``from_env``: takes a release from an environment that has accepted it to another environment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import definition, discovery
from ...core import editions, entries, records, words
from ...core.errors import Refused
from ...core.words import listed
from ...definition import parity
from ..status import State
from . import environments
from . import status as app_status

if TYPE_CHECKING:
    from ...core.environment import Environment
    from ...core.model import App
    from .session import Session


@dataclass(frozen=True)
class Origin:
    """A release that an environment has accepted.

    :param deployment: the deployment that brought it there.
    :param digest: the SHA-256 of its archive, empty if there is none.
    :param unlike: the key paths in which the two environments differ, although they should not.
    """

    environment: str
    version: str
    deployment: str
    digest: str
    unlike: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """Return the origin as the result and the history of a run have it."""
        drift = {"allowed_drift": self.unlike} if self.unlike else {}
        return {"from_env": self.environment, "from_deployment": self.deployment, **drift}


def accepted(session: Session, environment: Environment, app: App, from_env: object, allow_drift: bool) -> Origin:
    """Return the release of ``app`` that ``from_env`` has accepted, for ``environment``.

    :raises Refused: nothing is accepted there, it was too long ago, or the environments are unlike.
    """
    pillar = session.pillar()
    source = definition.choose_environment(pillar, from_env)
    if source == environment.name:
        raise Refused(f"from_env={source}: is the environment itself. Name another.")
    other = session.load(pillar, source, app.name)
    definition.find_app(other, app.name)
    shown = app_status.run(session, app.name, source)["apps"][0]
    problems = environments.problems(shown)
    with discovery.connect(other.discovery) as backend:
        record = records.read(backend, records.prefix(source, app.name))[0]
        history = entries.read(backend, records.prefix(source, app.name))[0]
    if not record:
        raise Refused(f"{app.name} is not deployed in {source}, so there is nothing to take to {environment.name}.")
    serving = sorted({i["version"] for i in shown["instances"] if i["state"] == State.PUBLISHED.value})
    if serving != [record["version"]]:
        problems.append(f"clients get {', '.join(map(editions.told, serving)) or 'nothing'}")
    if shown["lock"] or record["deployment"] != shown["deployment"]:
        problems.append("somebody deploys it at this moment")
    if problems:
        raise Refused(f"{app.name} is not accepted in {source}: {words.joined(problems)}.")
    moment, deployment = entries.since(history, record)
    _refuse_old(environment, app, source, moment)
    unlike = _unlike(session, environment, app, other)
    if unlike and not allow_drift:
        raise Refused(
            f"{environment.name} and {source} are unlike in {listed(unlike)}: see salt-run environment.diff"
            f" {environment.name} {source}. Make them alike, add these to `ignore`, or say allow_drift=True."
        )
    release = editions.release(record["version"])
    digest = record.get("digests", {}).get(release, "")
    return Origin(source, release, deployment, digest, unlike)


def _refuse_old(environment: Environment, app: App, source: str, moment: float) -> None:
    within, age = environment.conditions.accept_within, time.time() - moment
    if within is not None and age > within:
        raise Refused(
            f"{app.name} was accepted in {source} {_hours(age)} ago, and {environment.name} takes a release within"
            f" {_hours(within)} (accept_within). Accept a newer release there, or raise accept_within."
        )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def _unlike(session: Session, environment: Environment, app: App, other: Environment) -> list[str]:
    """Return the key paths in which the environments differ, without other apps and the version of ``app``."""
    pillar = session.pillar()
    found = parity.differences(pillar, environment.name, other.name)
    machines, silent = environments.compare_machines(session, environment, other)
    for node, why in silent.items():
        session.warn(f"{node} is not compared: {why}")
    found += parity.without(machines, parity.ignored(pillar, environment.name, other.name))
    own = f"apps:{app.name}:"
    keys = [d.key for d in found if not d.key.startswith("apps:") or d.key.startswith(own)]
    return [key for key in keys if key != f"{own}version"]
