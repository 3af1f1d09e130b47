"""The ``service`` of an app becomes a Registration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import words
from ..core.errors import Mistakes
from ..core.model import DIGEST, OWN_META, Registration

if TYPE_CHECKING:
    from collections.abc import Mapping

# The keys of metadata that each instance has, and the beginning of the keys that Consul reserves.
SALTDEPLOY_META, CONSUL_META = (*OWN_META, DIGEST), "consul-"
# How many keys of metadata Consul allows, and how many of them a definition may have.
CONSUL_KEYS = 64
MOST_META = CONSUL_KEYS - len(SALTDEPLOY_META)
# How long a value of metadata may be for Consul, in bytes of UTF-8.
META_BYTES = 512


def parse(raw: Mapping[str, Any], at: str) -> Registration:
    """Return the Registration that ``service: {…}`` describes.

    :param at: its key path, for messages.
    :raises DefinitionError: its metadata is not allowed. The message has all mistakes.
    """
    meta, mistakes = dict(raw.get("meta", {})), Mistakes()
    for key, text in meta.items():
        size, place = len(text.encode(errors="surrogatepass")), f"{at}:{words.path(('meta', key))}"
        if key in SALTDEPLOY_META:
            mistakes.add(f"{place}: saltdeploy itself has this key. Choose another name.")
        elif key.startswith(CONSUL_META):
            mistakes.add(f"{place}: Consul reserves keys that begin with `{CONSUL_META}`. Choose another name.")
        if size > META_BYTES:
            mistakes.add(f"{place}: the text has {size} bytes in UTF-8. Write at most {META_BYTES}.")
    if len(meta) > MOST_META:
        mistakes.add(
            f"{at}:meta: has {len(meta)} keys. Write at most {MOST_META}, because Consul takes {CONSUL_KEYS} and"
            f" saltdeploy itself has {len(SALTDEPLOY_META)}."
        )
    mistakes.refuse()
    return Registration(tuple(raw.get("tags", ())), meta, raw.get("name", ""))
