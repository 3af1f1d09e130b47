"""The version of an app that a command, a record or a definition means. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import advice, editions, forms, names
from .errors import Refused
from .words import listed, nearest, odd, shown

if TYPE_CHECKING:
    from .model import App


def check(app: App, version: object) -> str:
    """Return the version to deploy: ``version``, or the version in the definition of ``app``.

    :param version: None or an empty text means the version in the definition.
    :raises Refused: it cannot be a version, or the definition has digests of other versions only.
    """
    found = usable(app, version)
    digests = app.source.sha256
    if isinstance(digests, dict) and found not in digests:
        raise Refused(
            f"unknown version {found} of {app.name}{nearest(found, digests)}: no digest of it under"
            f" apps:{app.name}:source:sha256. Digests there: {listed(digests)}."
        )
    return found


def recorded(app: App, edition: str) -> str:
    """Return ``edition``, of which a record tells.

    :raises Refused: the definition has digests of other versions only.
    """
    check(app, editions.release(edition))
    return edition


def usable(app: App, version: object) -> str:
    """Return ``version``, or the version in the definition of ``app``, whether a digest is known or not.

    :param version: as for :func:`check`.
    :raises Refused: it cannot be a version.
    """
    if version is None or version == "":
        if not app.version:
            raise Refused(
                f"which version of {app.name}? Say version=…, or set `version` for it in the environment's apps."
            )
        return app.version
    if advice.is_number(version):
        raise Refused(
            f"version {shown(version)} was read as a number, and digits may be lost (3.10 becomes 3.1)."
            f" {_quoted(app, version)}"
        )
    if not names.is_version(version):
        raise Refused(f"version {shown(version)} is not usable. Write {forms.A_VERSION['description']}{odd(version)}")
    return version


def _quoted(app: App, number: float) -> str:
    """Return the advice to quote a version that was read as ``number``.

    It names the versions with a digest that ``number`` may stand for.
    """
    digests = app.source.sha256 if app.source and isinstance(app.source.sha256, dict) else ()
    known = [v for v in digests if re.fullmatch(r"[0-9]+(\.[0-9]+)?", v) and float(v) == number]
    return f"Quote it twice: {' or '.join(map(argument, known))}." if known else names.AS_TEXT


def argument(version: str) -> str:
    """Return ``version``, a release or an edition, as an argument of a command, quoted so that YAML reads a text."""
    return f"version=\"'{version}'\""
