"""The ``stop`` of an app's definition becomes a Stop. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core import durations
from ..core.errors import DefinitionError
from ..core.model import Stop
from ..core.words import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

# The time in which an instance must end, in seconds. supervisord counts whole seconds. A deployment waits for the end,
# and holds the lock meanwhile.
LEAST, MOST = 1.0, 3600.0


def parse(raw: Mapping[str, Any], at: str) -> Stop:
    """Return the Stop that ``stop: {…}`` describes.

    :param raw: the mapping as it is written. The schema has accepted it.
    :param at: its key path, for messages.
    :raises DefinitionError: the timeout is too short or too long.
    """
    timeout = durations.seconds(raw.get("timeout", Stop.timeout))
    if not LEAST <= timeout <= MOST:
        problem = "short" if timeout < LEAST else "long"
        raise DefinitionError(f"{at}:timeout: {shown(raw['timeout'])} is too {problem}. Write 1s to 1h.")
    return Stop(raw.get("signal", Stop.signal), timeout)
