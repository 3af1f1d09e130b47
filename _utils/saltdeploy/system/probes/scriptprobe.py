"""A script that the watcher of an instance runs."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from typing import Any

from ...core import scriptchecks
from ...core.httprequests import Request
from ...core.model import Probe
from .. import httpclient
from .base import SHOWN, ProbeFailed


class Script:
    """The script must end with 0. The watcher runs it, with the instance's environment."""

    def filled(self, probe: Probe, values: Mapping[str, Any]) -> Probe:
        """Return ``probe`` as it is, because a result shows the command as the definition has it."""
        return probe

    def ask(self, probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None, user: str) -> str:
        """Ask the watcher."""
        place = httpclient.Place("http", values["address"], probe.port or 0, scriptchecks.path(probe))
        try:
            response, body = httpclient.ask(place, Request(), time.monotonic() + scriptchecks.answer_timeout(probe))
        except (OSError, http.client.HTTPException) as exc:
            raise ProbeFailed(f"its watcher does not answer: {httpclient.reason(exc)[:SHOWN]}") from exc
        text = httpclient.text(response, body)[:SHOWN]
        if response.status != 200:
            raise ProbeFailed(text, status=response.status)
        return text
