"""Which version is meant."""

from __future__ import annotations

import re

from . import names, schema
from .errors import Refused
from .words import listed, nearest, odd, shown


def check(app, version):
    """Return the version to deploy: ``version``, else the definition's; Refused if it is not usable."""
    version = usable(app, version)
    digests = app.source.sha256
    if isinstance(digests, dict) and version not in digests:
        raise Refused(
            f"unknown version {version} of {app.name}{nearest(version, digests)}: no digest of it under"
            f" apps:{app.name}:source:sha256 (there: {listed(digests)})"
        )
    return version


def usable(app, version):
    """Return the version meant: ``version``, else the definition's; Refused if it cannot be one."""
    if version is None or version == "":
        if not app.version:
            raise Refused(
                f"which version of {app.name}? Say version=…, or set `version` for it in the environment's apps."
            )
        return app.version
    if isinstance(version, (int, float)) and not isinstance(version, bool):
        raise Refused(
            f"version {shown(version)} was read as a number, and digits may be lost (3.10 becomes 3.1)."
            f" {_quoted(app, version)}"
        )
    if not names.is_version(version):
        raise Refused(f"version {shown(version)} is not usable. Write {schema.A_VERSION['description']}{odd(version)}")
    return version


def _quoted(app, number):
    """Return what to type instead of a version that was read as ``number``: those known that it may have been."""
    digests = app.source.sha256 if app.source and isinstance(app.source.sha256, dict) else ()
    known = [v for v in digests if re.fullmatch(r"[0-9]+(\.[0-9]+)?", v) and float(v) == number]
    return f"Quote it twice: {' or '.join(map(argument, known))}." if known else names.AS_TEXT


def argument(version):
    """Return ``version`` as an argument of a command: text, whatever it looks like to YAML."""
    return f"version=\"'{version}'\""
