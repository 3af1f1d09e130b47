"""A connection to a port."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from ...core import addresses
from ...core.model import Probe
from .base import ProbeFailed


class Tcp:
    """A connection to the instance's port must succeed."""

    def filled(self, probe: Probe, values: Mapping[str, Any]) -> Probe:
        """Return ``probe`` as it is, because it has no text."""
        return probe

    def ask(self, probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None, user: str) -> str:
        """Connect, and close the connection at once."""
        port = probe.port or values["port"]
        try:
            socket.create_connection((values["address"], port), timeout=probe.timeout).close()
        except OSError as exc:
            where, refused = addresses.join(values["address"], port), isinstance(exc, ConnectionRefusedError)
            raise ProbeFailed(f"{where}: {exc.strerror or exc}", refused=refused) from exc
        return "connected"
