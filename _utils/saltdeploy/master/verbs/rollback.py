"""``deploy.rollback``: goes back to the last good release, or to another release that is still installed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...core import records, versions
from ...core.errors import Refused
from ...planning import planner
from ...planning.model import Desired
from . import rollouttask, task

if TYPE_CHECKING:
    from ...core.records import Entry
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
) -> Result:
    """Roll app ``name`` back to the last good release, or to ``version``, which must still be installed."""
    environment, app = session.definitions(name, env)
    wanted = None if version is None else versions.check(app, version)
    with session.site(environment, app, nodes, back=True) as site:

        def decide(observed: Observed) -> Task:
            site.tell_strangers(observed)
            record, history = site.deployed(), site.history()
            current = records.running(history, record)
            target = _retained(site, observed, wanted, current) if wanted else _last_good(site, history, current)
            session.journal.say(f"back from {app.name} {current} to {target}{_published_when(history, target)}")
            passed: tuple[list[str], list[str]] = ([], []) if wanted else records.passed(history, current, target)
            for sentence in _passing_over(app.name, current, target, *passed):
                session.warn(sentence)
            # Never fewer than serve now, because somebody may have scaled up for a reason.
            count = max(app.instances, sum(i.good and i.version == current for i in observed.instances))
            preferred = sorted(site.nodes, key=lambda n: target not in observed.releases.get(n, ()))
            desired = Desired(app, target, count, tuple(preferred), tests=not skip_tests, move=move, register=False)
            said = f", rolled back from {current}"
            return rollouttask.decide(session, site, observed, desired, planner.plan, said, current)

        return task.carry_out(session, site, "rollback", decide, reason, test)


def _retained(site: Site, observed: Observed, version: str, current: str) -> str:
    """Return ``version``. Raises Refused if it runs now, or if no node has it any more."""
    name, env = site.app.name, site.environment.name
    if version == current:
        raise Refused(
            f"{name} {version} is the release that runs in {env}: see salt-run deploy.history {name} env={env}"
        )
    there = sorted({r for releases in observed.releases.values() for r in releases} - {current})
    if version not in there:
        raise Refused(
            f"{name} {version} is installed on no node any more. Retained are: {', '.join(there) or 'none'}."
            f" To install it again: salt-run deploy.app {name} {versions.argument(version)} env={env}"
        )
    return version


def _last_good(site: Site, history: Sequence[Entry], current: str) -> str:
    """Return the last good release before ``current``. Raises Refused if the history has none."""
    entry = records.last_good(history, current)
    if not entry or not entry["record"]:
        any_version, name, env = versions.argument("…"), site.app.name, site.environment.name
        raise Refused(
            f"the history of {name} in {env} has no good release before {current}: name one that is installed still"
            f" ({any_version}), or deploy one: salt-run deploy.app {name} {any_version} env={env}"
        )
    return versions.check(site.app, entry["record"]["version"])


def _passing_over(name: str, current: str, target: str, reverted: Sequence[str], left: Sequence[str]) -> Iterator[str]:
    """Yield surprising effects of a rollback, as sentences for the operator: see records.passed."""
    if reverted:
        yield (
            f"{name} {', '.join(reverted)} failed and was reverted before: clients have {current}. This goes"
            f" below it, to {target}."
        )
    if left:
        yield f"{name} {', '.join(left)} is passed over: a rollback left it, and nobody deployed it again since."


def _published_when(history: Sequence[Entry], version: str) -> str:
    found = (entry["record"] for entry in history if entry["record"])
    record = next((record for record in found if record.get("version") == version), None)
    if not record:
        return ", which the history has no more"
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["time"]))
    return f", deployed {when} ({record['deployment']})"
