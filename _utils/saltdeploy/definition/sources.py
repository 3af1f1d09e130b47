"""The ``source`` of an app becomes a Source. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import urls
from ..core.errors import DefinitionError, Mistakes
from ..core.model import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

# The keys that have a meaning with one kind of source only.
ONLY = {"archive": {"strip", "headers", "token_file"}, "pip": {"requirements", "python", "index"}}


def parse(raw: Mapping[str, Any], at: str) -> Source:
    """Return the Source that ``source: {…}`` describes.

    :param at: its key path, for messages.
    :raises DefinitionError: it has not exactly one kind, or keys that have no meaning together.
    """
    kinds = [k for k in ("archive", "pip") if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "neither"
        raise DefinitionError(f"{at}: needs exactly one of `archive` and `pip`, found {found}.")
    kind, mistakes = kinds[0], Mistakes()
    if kind == "archive" and "sha256" not in raw:
        mistakes.add(f"{at}:sha256: is missing. An archive is unpacked only if its digest is known.")
    for stray in sorted(set(raw) & ONLY["pip" if kind == "archive" else "archive"]):
        mistakes.add(f"{at}:{stray}: has no meaning with `{kind}`.")
    if kind == "pip" and isinstance(raw.get("sha256"), str):
        mistakes.add(f"{at}:sha256: one digest has no meaning with `pip`. Write a digest for each version.")
    mistakes.attempt(_check_credentials, raw, at)
    mistakes.refuse()
    return Source(
        kind,
        raw[kind],
        sha256=raw.get("sha256"),
        strip=raw.get("strip", Source.strip),
        requirements=tuple(raw.get("requirements", ())),
        python=raw.get("python", ""),
        index=raw.get("index", ""),
        # gpg needs a block in YAML, which ends with a line break.
        headers={name: value.rstrip("\n") for name, value in raw.get("headers", {}).items()},
        token_file=raw.get("token_file", ""),
        netrc=raw.get("netrc", ""),
    )


def _check_credentials(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if a source has several logins, a login that is never asked for, or a login in a URL."""
    mistakes = Mistakes()
    ways = [key for key in ("token_file", "netrc") if key in raw]
    ways += [f"headers:{name}" for name in raw.get("headers", ()) if name.lower() == "authorization"]
    if len(ways) > 1:
        mistakes.add(f"{at}:{ways[0]}: {ways[1]} is given too, and only one login can be sent. Remove one.")
    given = [key for key in ("headers", "token_file", "netrc") if key in raw]
    if given and "archive" in raw and not raw["archive"].startswith(("http://", "https://")):
        mistakes.add(f"{at}:{given[0]}: has no meaning with an archive that does not come over HTTP.")
    for number, requirement in enumerate(raw.get("requirements", ())):
        if urls.has_query(requirement):
            mistakes.add(
                f"{at}:requirements:{number}: the URL has a query, which may be a token (it is not shown). It would be"
                " kept in files that all may read. Take it out and name a file on the node that holds the login:"
                " source:netrc."
            )
    mistakes.refuse()
