"""The names in an instance's folder: saltdeploy's own names, and the names that a definition may give."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..core.errors import Mistakes
from ..core.words import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORD, START, LOG = "instance.json", "start", "log"
# The variables of an instance that runs as a copy of a package's unit.
VARIABLES = ".variables"
# The note on the things that an instance waits for until it is ready.
WAITING = ".waiting"
# The watcher of an instance, the file with its scripts and checks, and its notes on the restarts of the instance.
WATCHER, WATCHING, RESTARTS = ".watcher.py", ".watching.json", ".restarts"
# The processes of the instance at its publication.
PROCESS = ".process"
# The registration that clients find, and the registration that it replaced.
REGISTERED, BEFORE = ".registered", ".registered-before"
# The files of ``config`` that the last reload replaced.
CONFIG_BEFORE = ".config-before"
# A file has a name with .partial until it is complete. supervisord numbers the logs that it puts aside.
TAKEN = re.compile(
    r"instance\.json|start|log(\.[0-9]+)?|\.watcher\.py|\.watching\.json|\.restarts|\.waiting|\.process|\.registered(-before)?|\.config-before|\.variables|\..*\.partial"
)


def check(config: Iterable[str], at: str) -> None:
    """Raise DefinitionError if a target of ``config`` is a file of ours, no file at all, or another target's folder.

    :param config: paths below the instance's folder.
    :param at: its key path, for messages.
    """
    mistakes = Mistakes()
    paths: dict[PurePosixPath, str] = {}
    for target in config:
        path = PurePosixPath(target)
        if not path.parts:
            mistakes.add(f"{at}: found {shown(target)}, which is the instance's folder itself. Name a file.")
        elif TAKEN.fullmatch(path.parts[0]):
            mistakes.add(
                f"{at}: found {shown(target)}, but saltdeploy has a file {path.parts[0]} of its own in the folder of an"
                " instance. Choose another name, for example below etc/."
            )
        elif path in paths:
            mistakes.add(f"{at}: {shown(paths[path])} and {shown(target)} are the same file. Keep one.")
        else:
            paths[path] = target
    for path, target in paths.items():
        for folder in path.parents:
            if folder in paths:
                mistakes.add(f"{at}: {shown(paths[folder])} is a file, and {shown(target)} is in it.")
    mistakes.refuse()
