"""The demo's own pillar, for its user to edit."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy(source, target):
    """Copy the pillar ``source`` to ``target``. A definition that is there already stays as its user left it.

    ``top.sls`` and the programs (``#!py``) are no definitions: they are copied each time.
    """

    def edited(folder, names):
        there = target / Path(folder).relative_to(source)
        return [n for n in names if (there / n).is_file() and not _is_code(Path(folder) / n)]

    shutil.copytree(source, target, ignore=edited, dirs_exist_ok=True)


def _is_code(path):
    return path.name == "top.sls" or path.read_text().startswith("#!")
