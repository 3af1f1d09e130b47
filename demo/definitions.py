"""The demo's own pillar, for its user to edit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tooling import ToolError

# The environment, below the pillar.
FILE = Path("environments/demo.sls")
# Its discovery: the key, and all lines that are further in.
DISCOVERY = re.compile(r"^    discovery:\n(      (\w+):\n(?: {6}.*\n)*)", re.MULTILINE)


def copy(source, target):
    """Copy the pillar ``source`` to ``target``. A definition that is there already stays as its user left it.

    ``top.sls`` and the programs (``#!py``) are no definitions: they are copied each time.
    """

    def edited(folder, names):
        there = target / Path(folder).relative_to(source)
        return [n for n in names if (there / n).is_file() and not _is_code(Path(folder) / n)]

    shutil.copytree(source, target, ignore=edited, dirs_exist_ok=True)


def set_discovery(path, wanted):
    """Give the environment in the file ``path`` the discovery of the file ``wanted``. Return whether it had another.

    If it has this kind already, it stays as its user left it.
    """
    text, ours = path.read_text(), DISCOVERY.search(wanted.read_text())
    found = DISCOVERY.search(text)
    if not found:
        raise ToolError(f"{path} has no `discovery:` as {wanted} has it. Put it back, or remove the file.")
    if found[2] == ours[2]:
        return False
    path.write_text(text[: found.start()] + ours[0] + text[found.end() :])
    return True


def _is_code(path):
    return path.name == "top.sls" or path.read_text().startswith("#!")
