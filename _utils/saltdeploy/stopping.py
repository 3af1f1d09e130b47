"""How the definition of an app says that its instances are stopped."""

from __future__ import annotations

from . import durations
from .errors import DefinitionError
from .model import Stop
from .words import shown

# An instance that is told to end has at least a second, which is what supervisord counts in, and at most an hour: a
# deployment waits for it, with the lock held.
LEAST, MOST = 1.0, 3600.0


def parse(raw, at):
    """Return the Stop that ``stop: {…}`` describes.

    :param raw: as it is written, the schema's demands met.
    :param at: its key path, for messages.
    :raises DefinitionError: the timeout is too short, or too long.
    """
    timeout = durations.seconds(raw.get("timeout", Stop.timeout))
    if not LEAST <= timeout <= MOST:
        raise DefinitionError(f"{at}:timeout: found {shown(raw['timeout'])}, allowed is 1s to 1h")
    return Stop(raw.get("signal", Stop.signal), timeout)
