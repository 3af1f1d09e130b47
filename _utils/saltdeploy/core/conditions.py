"""The conditions of an environment for deployments: approvals, windows, and how fresh a release must be."""

from __future__ import annotations

from dataclasses import dataclass

# The days of the week, as definitions name them.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Window:
    """A time in which an environment is open.

    :param begins: its first minute of the day.
    :param ends: the first minute after it.
    :param days: names of DAYS.
    """

    begins: int
    ends: int
    days: tuple[str, ...]
    timezone: str = "UTC"


@dataclass(frozen=True)
class Approvals:
    """The approvals that a release needs: from ``count`` people of ``by``. Without people, it needs none."""

    by: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True)
class Conditions:
    """The conditions of an environment for deployments.

    :param windows: the times in which it is open. Without windows, it is always open.
    :param accept_within: how long ago another environment may have accepted a release, in seconds. None is no limit.
    :param request_key_file: a file on the master with the key of signed requests. Empty refuses them.
    """

    approvals: Approvals = Approvals()
    windows: tuple[Window, ...] = ()
    accept_within: float | None = None
    request_key_file: str = ""
