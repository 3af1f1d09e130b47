"""Checks that all nodes have the same content under a version, because a release never changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...core import editions, records
from ...core.errors import Failed, Refused
from ...core.instanceids import version_of
from ...core.names import DIGEST, content
from ...core.words import by_problem
from .. import outcome
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE, warnings

if TYPE_CHECKING:
    from ...core.model import App
    from ...core.records import Record
    from ...planning.model import Observed
    from ..journal import Journal
    from ..remote.fleet import Fleet, Reply


# The content that is put back, by the kind of the source.
OLD = {
    "ansible": "the old playbook",
    "git": "the tag",
    "package": "the old package",
    "path": "the old files",
    "pip": "the old lock file",
}


def look(fleet: Fleet, app: App, version: str, nodes: Collection[str]) -> dict[str, Reply]:
    """Return the answers of ``nodes`` about a release: ``{node: Reply}``, each value as ``app.room`` returns it."""
    return answers.compared(fleet.run("app.room", nodes, app.name, version, deadline=TALK_DEADLINE), answers.room)


def nodes(installing: Iterable[str], observed: Observed, version: str) -> list[str]:
    """Return the nodes that have a release, or are about to install it."""
    return sorted({*installing, *(node for node, releases in observed.releases.items() if version in releases)})


def may_change(app: App) -> bool:
    """Return whether the definition leaves the content of a release open.

    Then a folder, a tag, a branch, a lock file or a file of digests determines it.
    """
    kind, digests = app.source.kind, app.source.sha256
    if kind in ("git", "path") or app.source.lock or (kind == "ansible" and digests is None):
        return True
    return kind in ("archive", "ansible") and isinstance(digests, str) and not DIGEST.fullmatch(digests)


def check(
    fleet: Fleet, app: App, version: str, concerned: Sequence[str], observed: Observed, record: Record | None
) -> list[str]:
    """Check that a release is available and would be the same on all nodes. Return warnings.

    :param concerned: the nodes that are about to install or start it.
    :param record: as records.read returns it, or None. It may have the digest that was deployed.
    :raises Refused: there is no room for the release, or its artifact is not available or has changed.
    """
    replies = look(fleet, app, version, nodes(concerned, observed, version))
    problems = {node: replies[node].error for node in concerned if replies[node].error}
    if problems:
        raise Refused(by_problem(problems))
    told = _two_contents(app, version, replies, now=True, known=recorded(record, observed).get(version, ""))
    if told:
        raise Refused(told)
    doubts = {node: "; ".join(warnings(replies[node].value)) for node in concerned}
    doubts = {node: text for node, text in doubts.items() if text}
    return [by_problem(doubts)] if doubts else []


def preview(fleet: Fleet, app: App, version: str, installing: Sequence[str], journal: Journal) -> list[str]:
    """Return the changes that the playbook of a release would make, as lines of a plan.

    A playbook that fails in check mode may work all the same. So that is a warning.
    """
    if app.source.kind != "ansible" or not installing:
        return []
    seconds = app.strategy.progress_deadline
    replies = fleet.run("app.preview", installing, app.name, version, deadline=seconds)
    replies = answers.compared(replies, answers.preview)
    failed = {node: reply.error for node, reply in replies.items() if reply.error}
    if failed:
        journal.warn(by_problem(failed, "in check mode on "))
    nodes: dict[str, list[str]] = {}
    for node, reply in sorted(replies.items()):
        for change in reply.value if reply.ok else ():
            nodes.setdefault(change.replace("\n", "\n      "), []).append(node)
    return [f"the playbook would change on {', '.join(some)}: {change}" for change, some in nodes.items()]


def recorded(record: Record | None, observed: Observed) -> dict[str, str]:
    """Return the recorded digests of the releases that the record names or that are installed: release -> digest.

    The content of any other release may change, because no node has it.

    :param record: as records.read returns it, or None.
    """
    named = {editions.release(version_of(instance)) for _, instance in outcome.places(record)}
    kept = named.union(*observed.releases.values())
    digests = (record or records.NOTHING).get("digests", {})
    return {release: digest for release, digest in digests.items() if release in kept}


def agree(fleet: Fleet, app: App, version: str, installing: Sequence[str], observed: Observed, known: str = "") -> str:
    """Return the digest of a release's archive on all nodes. It is empty if there is none or no node knows it.

    Nodes are asked once, and not at all for an archive whose digest the definition has. The installation itself reports
    all other problems.

    :param known: the digest that the record has of the release, if any.
    :raises Failed: the digest is not the same on all nodes.
    """
    defined = _defined(app, version)
    replies = {} if defined else look(fleet, app, version, nodes(installing, observed, version))
    told = _two_contents(app, version, replies, known=known, defined=defined)
    if told:
        raise Failed(told)
    return defined or next(
        (reply.value["digest"] for reply in replies.values() if reply.ok and reply.value["digest"]), ""
    )


def _defined(app: App, version: str) -> str:
    """Return the digest that the definition itself has of an archive, as its nodes find it, else an empty text."""
    given = app.source.sha256
    digest = given.get(version, "") if isinstance(given, dict) else given or ""
    return digest.lower() if app.source.kind == "archive" and DIGEST.fullmatch(digest) else ""


def differing_packages(fleet: Fleet, app: App, version: str, some: Sequence[str]) -> str:
    """Return a warning if pip installed different packages under one version on ``some`` nodes, or an empty text."""
    replies = look(fleet, app, version, some)
    by_package: dict[str, dict[str, list[str]]] = {}
    for node, reply in sorted(replies.items()):
        for package in reply.value["packages"] if reply.ok else ():
            name, _, number = package.partition("==")
            by_package.setdefault(name, {}).setdefault(number, []).append(node)
    differing = [
        f"{name} " + ", ".join(f"{number} on {' and '.join(where)}" for number, where in sorted(numbers.items()))
        for name, numbers in sorted(by_package.items())
        if len(numbers) > 1
    ]
    if not differing:
        return ""
    return (
        f"{app.name} {version} is not the same on all nodes: {'; '.join(differing[:5])}. Give exact versions of these"
        f" in apps:{app.name}:source:requirements, and deploy a new version."
    )


def _two_contents(
    app: App, version: str, replies: Mapping[str, Reply], now: bool = False, known: str = "", defined: str = ""
) -> str:
    """Return the message if there are two archives of the same version, else an empty text.

    :param known: the digest that the record has of the version, if any.
    :param defined: the digest that the definition has of it, if nodes were not asked.
    :param now: whether the present digest in a file of digests counts on nodes that have the release.
    """
    installed: dict[str, list[str]] = {}
    offered: dict[str, list[str]] = {}
    for node, reply in sorted(replies.items()):
        if reply.ok:
            found = reply.value
            (installed if found["installed"] else offered).setdefault(found["digest"], []).append(node)
            if now and found["installed"]:
                offered.setdefault(found["now"], []).append(node)
    if len({*installed, *offered, known, defined} - {""}) < 2:
        return ""
    said = [f"{content(known)} was deployed before"] if known else []
    said += [f"{content(defined)} is in its definition now"] if defined else []
    said += [f"{content(digest)} is installed on {', '.join(some)}" for digest, some in installed.items() if digest]
    said += [
        f"{content(digest)} would come to {', '.join(some)} now"
        for digest, some in offered.items()
        if digest and digest not in installed
    ]
    old = OLD.get(app.source.kind, "the old archive and its digest")
    return (
        f"{app.name} {version} has two contents: {', '.join(said)}. Content under a version never changes: give the new"
        f" one a new version, or put {old} back."
    )
