"""``environments:<name>:groups``: apps that are deployed together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import names, words
from ..core.environment import Group
from ..core.errors import Mistakes
from ..core.words import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(where: str, environment: Mapping[str, Any]) -> dict[str, Group]:
    """Return the groups of an environment by name.

    :param where: its key path.
    :param environment: its raw mapping, resolved and of the right shape.
    :raises DefinitionError: a group has an app that is not in the environment, or two groups share a fate and an app.
    """
    mistakes, found = Mistakes(), {}
    bound: dict[str, str] = {}
    for name, raw in (environment.get("groups") or {}).items():
        if not names.NAME.fullmatch(name):
            continue  # A schema refuses it, and does not show it.
        at = f"{where}:groups:{name}:apps"
        if "apps" not in raw:
            mistakes.add(f"{at}: is missing. Write the names of apps.")
        group = found[name] = Group(tuple(dict.fromkeys(raw.get("apps", ()))), raw.get("together", False))
        for app in group.apps:
            if app not in environment["apps"]:
                mistakes.add(
                    f"{at}: {words.name(app)} is no app of this environment{nearest(app, environment['apps'])}. Take it"
                    f" out, or add it to {where}:apps."
                )
            elif group.together and bound.setdefault(app, name) != name:
                mistakes.add(
                    f"{at}: {words.name(app)} is in {bound[app]}, which is `together`, too. Leave it in one of them."
                )
    mistakes.refuse()
    return found
