"""How a release comes to a node. A kind of source is a class in a file of its own, and a line in KINDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core import model
from .ansible import Ansible
from .archive import Archive
from .base import Asking, Installation, Source
from .container import Image
from .git import Git
from .package import Package
from .path import Folder
from .pip import Pip

__all__ = ["KINDS", "Ansible", "Asking", "Installation", "choose"]

KINDS: Mapping[str, Callable[[model.Source], Source]] = {
    "ansible": Ansible,
    "archive": Archive,
    "container": Image,
    "package": Package,
    "git": Git,
    "path": Folder,
    "pip": Pip,
}


def choose(definition: model.Source) -> Source:
    """Return the source that an app's definition describes."""
    return KINDS[definition.kind](definition)
