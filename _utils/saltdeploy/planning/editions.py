"""The choice of the settings of a deployment, from the settings that the nodes have kept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import editions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .model import Desired, Observed

# The difference of an instance whose settings its node has not kept.
NOT_KNOWN = "not known"


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


def changes(desired: Desired, observed: Observed) -> dict[str, dict[str, str]]:
    """Return node -> id -> the settings that differ, as text, of the instances of the desired release.

    Only instances of another edition are in it.
    """
    found: dict[str, dict[str, str]] = {}
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
    if not desired.as_before or differs(desired, observed) == "":
        return []
    kept = observed.editions
    return [node for node in nodes if kept.get(node, {}).get(desired.version, NOT_KNOWN) == NOT_KNOWN]


def differs(desired: Desired, observed: Observed) -> str | None:
    """Return how the desired settings differ from the definition of now, None if no node can tell."""
    texts = [kept.get(desired.version) for kept in observed.editions.values()]
    known = [text for text in texts if text not in (None, NOT_KNOWN)]
    return next((text for text in known if text), "") if known else None


def brought_in(desired: Desired, observed: Observed, nodes: Sequence[str]) -> str:
    """Say that ``nodes`` start instances with the settings of now."""
    what = differs(desired, observed)
    differing = f", which differ in {what}" if what else ""
    return (
        f"{', '.join(nodes)}: {desired.app.name} starts with the settings of now{differing}, because those of"
        f" {editions.told(desired.version)} are not kept there"
    )
