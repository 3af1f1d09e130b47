"""The conditions of an environment at the moment of a run: whether it is open, and the approvals of the release."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ..core import arguments, editions, records, shapes, versions
from ..core.conditions import DAYS
from ..core.words import listed

if TYPE_CHECKING:
    from ..core.conditions import Conditions, Window
    from ..core.environment import Environment
    from ..core.model import App
    from ..discovery.backend import Backend

# The verbs that bring in a release or settings. They need the approvals.
APPROVED = ("deploy", "publish", "rollback")


def closed(environment: Environment, moment: float) -> str:
    """Return why nothing may be deployed at ``moment``, in seconds since 1970. Empty if it may be."""
    windows = environment.conditions.windows
    if not windows or any(_contains(window, moment) for window in windows):
        return ""
    return f"{environment.name} is closed now. It is open {'; '.join(map(told, windows))}"


def refused(environment: Environment, force: bool, moment: float) -> tuple[list[str], dict[str, Any]]:
    """Return why nothing may be changed at ``moment``, as sentences, and the facts for the history.

    :param force: whether the operator goes beyond the windows.
    """
    why = closed(environment, moment)
    if why and force:
        return [], {"forced": why}
    return [f"{why}. Wait, or say force=True with reason="] if why else [], {}


def _contains(window: Window, moment: float) -> bool:
    then = datetime.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(window.timezone))
    return DAYS[then.weekday()] in window.days and window.begins <= 60 * then.hour + then.minute < window.ends


def told(window: Window) -> str:
    """Return a window in words."""
    days = "every day" if len(window.days) == len(DAYS) else ", ".join(window.days)
    begins, ends = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (window.begins, window.ends))
    return f"{days} {begins}-{ends} {window.timezone}"


def person(owner: str) -> str:
    """Return the name of a person, of an owner like ``ann@master``."""
    return owner.rpartition("@")[0]


def approved_by(discovery: Backend, prefix: str, conditions: Conditions, version: str, owner: str = "") -> list[str]:
    """Return the people with a valid approval of the release ``version``.

    :param prefix: the prefix of the keys of the app.
    :param owner: the operator of the run, whose own approval does not count.
    """
    keys = {name: records.approval_key(prefix, name) for name in conditions.approvals.by if name != person(owner)}
    found = {name: shapes.holder(discovery.read(key)[0]) for name, key in keys.items()}
    return [name for name, approval in found.items() if approval.get("version") == version]


def unapproved(environment: Environment, app: App, version: str, people: Collection[str], owner: str) -> str:
    """Return why ``owner`` may not deploy the release ``version`` yet. Empty if enough ``people`` have approved it."""
    approvals, release = environment.conditions.approvals, editions.release(version)
    missing = approvals.count - len(people)
    if not approvals.by or missing <= 0:
        return ""
    others = listed(name for name in approvals.by if name not in people and name != person(owner))
    return (
        f"{app.name} {release} is not approved in {environment.name}: {missing} more of {others} must run"
        f" `salt-run deploy.approve {app.name} {versions.argument(release)} env={environment.name}`"
    )


def approval(owner: str, version: str, moment: float, reason: str) -> dict[str, Any]:
    """Return the value of an approval."""
    return {"version": version, "by": owner, "time": moment, "reason": reason[: arguments.REASON]}
