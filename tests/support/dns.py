"""Asks the DNS of service discovery every 20 milliseconds, as clients do."""

from __future__ import annotations

import contextlib
import time

from tests.support.background import beside


@contextlib.contextmanager
def watched(agents, service):
    """Ask for ``service`` every 20 milliseconds. Yield the sets of addresses that were found, without repetitions."""
    found = []

    def ask(over):
        while not over.is_set():
            seen = agents.addresses(service)
            if not found or found[-1] != seen:
                found.append(seen)
            time.sleep(0.02)

    with beside(ask):
        yield found
