"""The ``salt.loader`` entry point, by which Salt finds the modules that were installed with pip.

It is a callable, because a package as entry point loads nothing from an editable installation.
"""

from __future__ import annotations

import importlib.util

KINDS = ("modules", "states", "runners", "output")
# The libraries of others that the bundle imports, and their packages. Salt itself needs requests.
PACKAGES = {"consul": "python-consul", "jsonschema": "jsonschema"}


def directories() -> dict[str, list[str]]:
    """Return ``{kind: [directory]}`` for Salt's loader."""
    return {kind: [_folder(f"saltdeploy_{kind}")] for kind in KINDS}


def tree() -> str:
    """Return the folder of the state tree (``app.release`` and so on), for a master's ``file_roots``."""
    return _folder("saltdeploy_tree")


def virtual() -> bool | tuple[bool, str]:
    """Return True, or False and the command that installs the missing packages: a ``__virtual__`` for Salt's loader.

    If the library itself is missing, Salt says ``No module named 'saltdeploy'`` at the import of this function.
    """
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    return (False, f"Run `salt-pip install {' '.join(missing)}` on this machine.") if missing else True


def _folder(package: str) -> str:
    found = importlib.util.find_spec(package)
    if not found or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no package {package}", name=package)
    return next(iter(found.submodule_search_locations))


if __name__ == "__main__":
    print(tree())
