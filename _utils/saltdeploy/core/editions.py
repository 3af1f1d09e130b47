"""Editions: a release together with its settings.

``1.4.2`` is release 1.4.2 with the settings that it was first deployed with. ``1.4.2@7`` is the same release with
settings 7. The numbers are counted for each app in an environment. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import forms

if TYPE_CHECKING:
    from typing import TypeGuard

# No version contains it.
MARK = "@"
# More than an app ever has.
MOST = 99999
EDITION = re.compile(f"{forms.VERSION.rstrip('$')}({MARK}[1-9][0-9]{{0,4}})?")


def of(release: str, settings: int) -> str:
    """Return the edition of ``release`` with the settings of that number. 0 means the release's first settings."""
    return f"{release}{MARK}{settings}" if settings else release


def release(edition: str) -> str:
    """Return the release of ``edition``: ``1.4.2`` of ``1.4.2@7``."""
    return edition.partition(MARK)[0]


def settings(edition: str) -> int:
    """Return the number of the settings of ``edition``: 7 of ``1.4.2@7``, 0 of ``1.4.2``."""
    return int(edition.partition(MARK)[2] or 0)


def is_edition(value: object) -> TypeGuard[str]:
    """Return whether ``value`` can be an edition."""
    return isinstance(value, str) and EDITION.fullmatch(value) is not None


def told(edition: str) -> str:
    """Return ``edition`` for people: ``1.4.2 (settings 7)``."""
    number = settings(edition)
    return f"{release(edition)} (settings {number})" if number else edition


def following(known: Iterable[str]) -> int:
    """Return the next number of settings after those of the ``known`` editions."""
    return 1 + max(map(settings, known), default=0)
