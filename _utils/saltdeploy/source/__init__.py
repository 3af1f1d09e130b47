"""How a release comes to a node. A kind of source is a class in a file of its own, and a line in KINDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core import model
from .archive import Archive
from .base import Installation, Source
from .pip import Pip

__all__ = ["KINDS", "Installation", "choose"]

KINDS: Mapping[str, Callable[[model.Source], Source]] = {
    "archive": Archive,
    "pip": Pip,
}


def choose(definition: model.Source) -> Source:
    """Return the source that an app's definition describes."""
    return KINDS[definition.kind](definition)
