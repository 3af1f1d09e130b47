"""A node's cache of the mistakes in its definitions. To find the mistakes takes longer than most jobs do."""

from __future__ import annotations

import contextlib
import json

from ..definition import validation
from ..system.files import write_file


class NodeMistakes:
    """The mistakes in a node's definitions.

    :param root: the node's folder. A file in it keeps the mistakes that were found last.
    """

    def __init__(self, root):
        self._path = root / ".validated"

    def find(self, definitions):
        """Return the mistakes in ``definitions``, as validation.problems_again does."""
        digest = validation.digest(definitions)
        # The first releases of saltdeploy wrote another form.
        with contextlib.suppress(OSError, ValueError, LookupError, AttributeError):
            remembered = json.loads(self._path.read_text())
            if remembered["digest"] == digest:
                return remembered["problems"]
        found = validation.problems_again(definitions)
        with contextlib.suppress(OSError):  # the next job looks for them again
            write_file(self._path, json.dumps({"digest": digest, "problems": found}), 0o600)
        return found
