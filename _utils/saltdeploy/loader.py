"""The ``salt.loader`` entry point, by which Salt finds the modules that were installed with pip.

It is a callable, because a package as entry point loads nothing from an editable installation.
"""

from __future__ import annotations

import importlib.util

KINDS = ("modules", "states", "runners", "output")


def directories():
    """Return ``{kind: [directory]}`` for Salt's loader."""
    return {kind: [_folder(f"saltdeploy_{kind}")] for kind in KINDS}


def tree():
    """Return the folder of the state tree (``app.release`` and so on), for a master's ``file_roots``."""
    return _folder("saltdeploy_tree")


def _folder(package):
    return next(iter(importlib.util.find_spec(package).submodule_search_locations))


if __name__ == "__main__":
    print(tree())
