"""``deploy.rollback``: goes back to the last good release, or to another release that is still installed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core import editions, entries, names, versions
from ...core.errors import Refused
from ...planning import planner
from ...planning.model import Desired
from .. import preflight
from . import rollouttask
from .task import carry_out

if TYPE_CHECKING:
    from ...core.entries import Entry
    from ...core.model import App
    from ...planning.model import Observed
    from .appsite import Site
    from .session import Session
    from .task import Result, Task


def run(
    session: Session,
    name: object,
    env: object,
    version: object,
    nodes: object,
    skip_tests: bool,
    test: bool,
    reason: object,
    move: bool,
    settings: object = None,
    of: str | None = None,
) -> Result:
    """Roll app ``name`` back to the last good release with the settings that it had, or to others.

    :param version: the release, or the edition, which must still be installed. None means the last good one.
    :param settings: the number of the settings. None means the last settings of the release.
    :param of: the deployment to go back from. None is any, and else another one must not have come after it.
    """
    environment, app = session.definitions(name, env)
    number = None if settings is None else names.whole("settings", settings, 0, editions.MOST)
    wanted = None if version is None else _edition(app, version)
    with session.site(environment, app, nodes, back=True) as site:

        def decide(observed: Observed) -> Task:
            site.still(of)
            site.tell_strangers(observed)
            if site.absent:
                preflight.refuse_unseen(site)
            record, history = site.deployed(), site.history()
            current = entries.running(history, record)
            chosen = wanted is not None or number is not None
            if chosen:
                found = _find(site, observed, history, wanted, number, current)
                target = _retained(site, observed, found, current)
            else:
                target = _last_good(site, history, current)
            there, back = editions.told(current), editions.told(target)
            session.journal.say(f"back from {app.name} {there} to {back}{_published_when(history, target)}")
            passed: tuple[list[str], list[str]] = ([], []) if chosen else entries.passed(history, current, target)
            for sentence in _passing_over(app.name, current, target, *passed):
                session.warn(sentence)
            # Never fewer than serve now, because somebody may have scaled up for a reason.
            count = max(app.instances, sum(i.good and i.version == current for i in observed.instances))
            release = editions.release(target)
            preferred = sorted(site.nodes, key=lambda n: release not in observed.releases.get(n, ()))
            options = {"tests": not skip_tests, "move": move, "register": False, "as_before": True}
            desired = Desired(app, target, count, tuple(preferred), **options)
            said = f", rolled back from {there}"
            task = rollouttask.decide(session, site, observed, desired, planner.plan, said, current)
            # The operator may choose any installed release, also a candidate that nobody has published.
            return replace(task, back=not chosen or target in entries.good(history))

        return carry_out(session, site, "rollback", decide, reason, test)


def _edition(app: App, version: object) -> str:
    """Return ``version``, a release or an edition of ``app``. Raises Refused if it cannot be one."""
    return versions.recorded(app, version) if editions.is_edition(version) else versions.check(app, version)


def _find(
    site: Site, observed: Observed, history: Sequence[Entry], wanted: str | None, number: int | None, current: str
) -> str:
    """Return the edition that an operator means by a release, a number of settings, or both.

    :raises Refused: nobody knows of these settings.
    """
    kept = {edition for there in observed.editions.values() for edition in there}
    release = editions.release(wanted) if wanted else None
    if wanted and editions.MARK in wanted:
        if number not in (None, editions.settings(wanted)):
            raise Refused(f"version={wanted} has the number of other settings than settings={number}. Say one of them.")
        number = editions.settings(wanted)
    if number is None and release:
        return _last_of(history, release, kept, current)
    known = kept.union(entries.known_editions(site.record(), history))
    fitting = sorted(e for e in known if editions.settings(e) == number and release in (None, editions.release(e)))
    if len(fitting) == 1:
        return fitting[0]
    name, env = site.app.name, site.environment.name
    look = f"See salt-run deploy.history {name} env={env}"
    if fitting:
        raise Refused(f"settings={number}: several releases of {name} have it. Say which: version=…. {look}")
    of = f" of {release}" if release else ""
    raise Refused(f"settings={number}: nobody knows of such settings of {name}{of} in {env}. {look}")


def _last_of(history: Sequence[Entry], release: str, kept: Collection[str], current: str) -> str:
    """Return the newest edition of ``release`` that was good, or the running one if the history has no other.

    :param kept: the editions whose settings nodes have kept.
    """
    good = [e for e in entries.good(history) if editions.release(e) == release and e != current]
    if good or editions.release(current) == release:
        return good[0] if good else current
    there = [e for e in kept if editions.release(e) == release]
    return release if release in there or not there else max(there, key=editions.settings)


def _retained(site: Site, observed: Observed, version: str, current: str) -> str:
    """Return the edition ``version``. Raises Refused if it runs now, or if no node has its release any more."""
    name, env = site.app.name, site.environment.name
    if version == current:
        raise Refused(
            f"{name} {editions.told(version)} is the release that runs in {env}: see salt-run deploy.history {name}"
            f" env={env}"
        )
    there = sorted({r for releases in observed.releases.values() for r in releases})
    release = editions.release(version)
    if release not in there:
        there = [r for r in there if r != editions.release(current)]
        raise Refused(
            f"{name} {release} is installed on no node any more. Retained are: {', '.join(there) or 'none'}."
            f" To install it again: salt-run deploy.app {name} {versions.argument(release)} env={env}"
        )
    return version


def _last_good(site: Site, history: Sequence[Entry], current: str) -> str:
    """Return the last good release before ``current``. Raises Refused if the history has none."""
    entry = entries.last_good(history, current)
    if not entry or not entry["record"]:
        any_version, name, env = versions.argument("…"), site.app.name, site.environment.name
        raise Refused(
            f"the history of {name} in {env} has no good release before {editions.told(current)}: name one that is"
            f" installed still ({any_version}), or deploy one: salt-run deploy.app {name} {any_version} env={env}"
        )
    return versions.recorded(site.app, entry["record"]["version"])


def _passing_over(name: str, current: str, target: str, reverted: Sequence[str], left: Sequence[str]) -> Iterator[str]:
    """Yield surprising effects of a rollback, as sentences for the operator: see entries.passed."""
    if reverted:
        yield (
            f"{name} {', '.join(map(editions.told, reverted))} failed and was reverted before: clients have"
            f" {editions.told(current)}. This goes below it, to {editions.told(target)}."
        )
    if left:
        what = ", ".join(map(editions.told, left))
        yield f"{name} {what} is passed over: a rollback left it, and nobody deployed it again since."


def _published_when(history: Sequence[Entry], version: str) -> str:
    found = (entry["record"] for entry in history if entry["record"])
    record = next((record for record in found if record.get("version") == version), None)
    if not record:
        return ", which the history has no more"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["time"]))
    return f", deployed {when} ({record['deployment']})"
