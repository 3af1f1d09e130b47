"""The version of an app that a command, a record or a definition means. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import advice, editions, forms, names
from .errors import Refused
from .words import listed, nearest, odd, shown

if TYPE_CHECKING:
    from .model import App, Source

# The version that a definition says of a folder whose content determines it, and the beginning of such versions.
WORKING_COPY, CONTENT = "working-copy", "wc-"
# The beginning of a version that names a commit of a branch.
COMMIT = "git-"


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


def of_content(digest: str) -> str:
    """Return the version of a working copy whose content has the SHA-256 ``digest``."""
    return f"{CONTENT}{digest[:12]}"


def is_of_content(version: str) -> bool:
    """Return whether ``version`` is a name of content, as :func:`of_content` returns it."""
    return re.fullmatch(f"{CONTENT}[0-9a-f]{{12}}", version) is not None


def of_commit(commit: str) -> str:
    """Return the version of ``commit``, which a branch has without a version of its own."""
    return f"{COMMIT}{commit[:12]}"


def commit(version: str) -> str:
    """Return the beginning of the commit that ``version`` names, as :func:`of_commit` returns it, or an empty text."""
    return version.removeprefix(COMMIT) if re.fullmatch(f"{COMMIT}[0-9a-f]{{12}}", version) else ""


def is_branch(source: Source) -> bool:
    """Return whether all versions of a Git repository come from the same branch."""
    return source.kind == "git" and "{version}" not in source.ref


def is_open(app: App, version: object) -> bool:
    """Return whether the content of a folder or a branch determines the version to deploy.

    This is so if nobody says a version.
    """
    unsaid = version in (None, "") and not app.version
    if app.source.kind == "path":
        return unsaid or version == WORKING_COPY
    return unsaid and is_branch(app.source)


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
            if is_open(app, version):
                kind = "folder" if app.source.kind == "path" else "branch"
                raise Refused(
                    f"which version of {app.name}? Its source is a {kind}: salt-run deploy.plan {app.name} shows the"
                    " version of its content. Say version=…"
                )
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
