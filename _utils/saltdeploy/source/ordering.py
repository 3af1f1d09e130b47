"""The order of versions: that of Python (PEP 440), in which 1.10 is newer than 1.9, and 2.0rc1 no final release."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from ..core.errors import Refused


def parsed(version: str) -> Version | None:
    """Return ``version`` in the order of Python's versions (PEP 440), or None if it is none of them."""
    try:
        return Version(version)
    except InvalidVersion:
        return None


def newest(versions: Iterable[str], above: str, where: str = "source:sha256") -> str:
    """Return the newest final release of ``versions``, which is not older than ``above``.

    :param above: a version, or an empty text for any.
    :param where: the place of these versions, for messages.
    """
    floor, known = parsed(above), {version: parsed(version) for version in versions}
    final = {v: p for v, p in known.items() if p and not p.is_prerelease and (floor is None or p >= floor)}
    if not final and not above:
        raise Refused(f"{where}: has no final release, for example 1.4.2.")
    return max(final, key=final.__getitem__, default=above)
