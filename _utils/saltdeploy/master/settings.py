"""The facts on instances that only their nodes can tell, for a status: the differences from their definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import changes
from ..core.changes import NOT_KEPT
from . import membership
from .remote import answers
from .status import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..core.environment import Environment
    from .remote.fleet import Fleet

# How long a status waits for the nodes, in seconds.
DEADLINE = 15.0
# The states of instances that were started with settings of the environment.
OURS = (State.PUBLISHED.value, State.CANDIDATE.value, State.WARM.value, State.WITHDRAWN.value)


def add(fleet: Fleet, environment: Environment, apps: Sequence[dict[str, Any]]) -> None:
    """Add the settings and registrations that differ, and restarts, to the states of ``apps`` by status.of_app.

    One job asks all nodes with instances. A node that does not tell is named in the warnings of its apps.
    """
    rows = [(app, row) for app in apps if app["app"] in environment.apps for row in app["instances"]]
    rows = [(app, row) for app, row in rows if row["state"] in OURS and row["node"] in environment.nodes]
    if not rows:
        return
    asked = sorted({app["app"] for app, _ in rows})
    nodes = sorted({row["node"] for _, row in rows})
    # A run under way starts all its instances with the pillar that it began with.
    refresh = not any(app["lock"] for app in apps)
    replies = fleet.run("app.changed", nodes, asked, refresh=refresh, deadline=DEADLINE)
    found = answers.compared(replies, answers.changed)
    for app, row in rows:
        reply = found[row["node"]]
        about = {} if reply.error else reply.value.get(app["app"], {})
        differs = about.get("settings", {}).get(row["version"]) or {}
        # The catalog does not have all facts on checks, nor a name that the definition does not have any more.
        told = about.get("registrations", {}).get(row["id"], ())
        row["outdated"] += [part for part in told if part not in row["outdated"]]
        row["restarts"] = about.get("restarts", {}).get(row["id"], [])
        row["settings"] = differs
        if reply.error or {"env", NOT_KEPT} & set(differs):
            row["output"] = membership.without_answer(row["output"])
        if differs:
            row["notes"].append(f"settings not as defined ({changes.told(differs)})")
        untold = f"{row['node']} does not say whether its settings are as defined: {reply.error}"
        if reply.error and untold not in app["warnings"]:
            app["warnings"].append(untold)
