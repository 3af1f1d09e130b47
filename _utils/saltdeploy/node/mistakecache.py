"""A node's cache of the mistakes in its definitions. To find the mistakes takes longer than most jobs do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..definition import validation
from ..system.files import write_file
from . import nodefiles


class NodeMistakes:
    """The mistakes in a node's definitions.

    :param root: the node's folder. A file in it keeps the mistakes that were found last.
    """

    def __init__(self, root: Path) -> None:
        self._path = root / ".validated"

    def find(self, definitions: Mapping[str, Any]) -> dict[str, list[str]] | None:
        """Return the mistakes in ``definitions``, as validation.problems_again does."""
        digest = validation.digest(definitions)
        remembered = nodefiles.read(self._path)
        # The first releases of saltdeploy wrote another form.
        if isinstance(remembered, dict) and remembered.get("digest") == digest and "problems" in remembered:
            return remembered["problems"]
        found = validation.problems_again(definitions)
        with contextlib.suppress(OSError):  # the next job looks for them again
            write_file(self._path, json.dumps({"digest": digest, "problems": found}), 0o600)
        return found
