"""The installation of a release without a node around it."""

from __future__ import annotations

from saltdeploy.source import Installation, choose
from saltdeploy.source.artifacts import Artifacts


def install(definition, target, version="1.0", fetch=None, user="", digest=""):
    """Make the files of a release in the empty folder ``target``. Downloads lie beside it."""
    artifacts = Artifacts(target.parent, "", target)
    return choose(definition).install(Installation(version, target, fetch, artifacts, user, digest))
