"""The choice of the settings of a deployment, from the settings that the nodes have kept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import editions
from ..core.changes import NOT_KEPT, told, union

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..core.changes import Changes
    from .model import Desired, Observed


def choose(observed: Observed, release: str, known: Callable[[], Iterable[str]]) -> str:
    """Return the edition of ``release`` with the settings of the definition, which may be there already, or the next.

    An edition is there if a node has kept its settings. They must be those of the definition on each such node. An
    edition that runs is preferred, then the newest. The first settings of a release have no number.

    :param known: returns all editions that anybody knows of. They count for the next number.
    """
    there: dict[str, bool] = {}
    of_release = [item for kept in observed.editions.values() for item in kept.items() if _is_of(item[0], release)]
    if not of_release:
        return release
    for edition, differs in of_release:
        # A node that may not run the app any more cannot tell.
        if differs is not None:
            there[edition] = there.get(edition, True) and not differs
    running = {i.version for i in observed.instances if i.published and i.running}
    same = [edition for edition, is_same in there.items() if is_same]
    if same:
        return max(same, key=lambda edition: (edition in running, editions.settings(edition)))
    seen = {edition for kept in observed.editions.values() for edition in kept}
    return editions.of(release, editions.following([*seen, *(i.version for i in observed.instances), *known()]))


def _is_of(edition: str, release: str) -> bool:
    return editions.release(edition) == release


def changed(desired: Desired, observed: Observed) -> dict[str, dict[str, Changes]]:
    """Return node -> id -> the settings that differ, of the instances of the desired release.

    Only instances of another edition are in it.
    """
    found: dict[str, dict[str, Changes]] = {}
    for i in sorted(observed.instances, key=lambda i: (i.node, i.slot)):
        differs = observed.editions.get(i.node, {}).get(i.version)
        is_other = i.version != desired.version and editions.release(i.version) == editions.release(desired.version)
        if differs and is_other and i.published:
            found.setdefault(i.node, {})[i.id] = differs
    return found


def lacking(desired: Desired, observed: Observed, nodes: Iterable[str]) -> list[str]:
    """Return those ``nodes`` that would start other settings than they should, because they have not kept them.

    A node without them is no problem if they are known to be those of the definition of now.
    """
    if not desired.as_before or differs(desired, observed) == {}:
        return []
    return [node for node in nodes if not _has_kept(observed, node, desired.version)]


def _has_kept(observed: Observed, node: str, edition: str) -> bool:
    kept = observed.editions.get(node, {})
    return edition in kept and NOT_KEPT not in (kept[edition] or {})


def differs(desired: Desired, observed: Observed) -> Changes | None:
    """Return how the desired settings differ from the definition of now, None if no node can tell."""
    found = [kept.get(desired.version) for kept in observed.editions.values()]
    known = [changes for changes in found if changes is not None and NOT_KEPT not in changes]
    return union(known) if known else None


def brought_in(desired: Desired, observed: Observed, nodes: Sequence[str]) -> str:
    """Say that ``nodes`` start instances with the settings of now."""
    what = differs(desired, observed)
    differing = f", which differ in {told(what)}" if what else ""
    return (
        f"{', '.join(nodes)}: {desired.app.name} starts with the settings of now{differing}, because those of"
        f" {editions.told(desired.version)} are not kept there"
    )
