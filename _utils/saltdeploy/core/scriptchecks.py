"""How the watcher of an instance answers for its ``script`` checks. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Probe


def key(check: Probe) -> str:
    """Return the name by which the watcher knows this ``script``. A changed script has another."""
    text = json.dumps([check.target, check.interval, check.timeout])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def path(check: Probe) -> str:
    """Return the path at which the watcher answers for this ``script``."""
    return f"/script/{key(check)}"


def answer_timeout(check: Probe) -> float:
    """Return the time in seconds that the answer to any check may take.

    The watcher answers a moment after the end of a ``script``.
    """
    return check.timeout + 1.0 if check.kind == "script" else check.timeout
