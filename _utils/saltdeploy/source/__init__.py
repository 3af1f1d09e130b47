"""How a release comes to a node. A kind of source is a class in a module of its name, and a line in KINDS."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .base import Asking, Installation, Source

if TYPE_CHECKING:
    from ..core import model

__all__ = ["KINDS", "Asking", "Installation", "choose"]

# Each kind, and its class. Salt starts a process for each job, and most jobs need none of them.
KINDS: Mapping[str, str] = {
    "ansible": "Ansible",
    "archive": "Archive",
    "container": "Image",
    "package": "Package",
    "git": "Git",
    "path": "Folder",
    "pip": "Pip",
}


def choose(definition: model.Source) -> Source:
    """Return the source that an app's definition describes."""
    module = importlib.import_module(f".{definition.kind}", __name__)
    made: Source = getattr(module, KINDS[definition.kind])(definition)
    return made
