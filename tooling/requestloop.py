"""Clients of an app while it is upgraded: what they are answered, and by which release."""

from __future__ import annotations

import collections
import random
import threading
import time

from . import agents

# Seconds for a request.
TIMEOUT = 5.0
# Failures that are told one by one.
SHOWN = 10


class RequestLoop:
    """One request after the other, each to an instance that discovery says is healthy at that moment.

    A context manager: it runs within the block.

    :param agents: addresses of Consul agents; each lookup asks another.
    :param service: the service's name.
    :param path: what is requested of an instance, over a new connection each time.

    ``pause`` is how long it waits between two requests, in seconds. ``asked`` is who is asked for instances.
    """

    pause, asked = 0.02, "Consul"

    def __init__(self, agents, service, path):
        self.agents, self.service, self.path = list(agents), service, path
        self.answered = collections.Counter()
        self.failures = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join(2 * TIMEOUT)

    @property
    def total(self):
        """How many requests were made."""
        return sum(self.answered.values()) + len(self.failures)

    def wait_for(self, version, seconds):
        """Return whether ``version`` answered at least once more within ``seconds``."""
        before, deadline = self.answered[version], time.monotonic() + seconds
        while self.answered[version] == before and time.monotonic() < deadline:
            time.sleep(self.pause)
        return self.answered[version] > before

    def report(self, during="the upgrade"):
        """Return lines that say what came of it ``during`` something."""
        by_release = ", ".join(f"{version}: {count}" for version, count in sorted(self.answered.items()))
        lines = [f"requests during {during}: {self.total}, failed: {len(self.failures)}"]
        lines += [f"answered by {by_release}"] if by_release else []
        lines += [f"failed: {failure}" for failure in self.failures[:SHOWN]]
        return lines

    def _run(self):
        while not self._stop.is_set():
            target = self.asked
            try:
                address, port, version = self._find()
                target = f"{self.service} {version} at {address}:{port}"
                status, body = agents.get(address, port, self.path, TIMEOUT)
                if status != 200:
                    raise OSError(f"status {status}: {body[:100].decode(errors='replace')}")
                self.answered[self._release(version, body)] += 1
            except (OSError, ValueError) as exc:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {target}: {exc}")
            self._stop.wait(self.pause)

    def _release(self, found, body):
        """Return the release that answered.

        :param found: the release of the instance that was asked; ``body``: its answer.
        """
        return found

    def _find(self):
        """Return address, port and version of one healthy instance."""
        agent = random.choice(self.agents)
        found = agents.ask(agent, f"/v1/health/service/{self.service}?passing", TIMEOUT)
        if not found:
            raise OSError(f"it knows no healthy instance of {self.service} (asked {agent})")
        entry = random.choice(found)
        service = entry["Service"]
        version = (service.get("Meta") or {}).get("version", "?")
        return service["Address"] or entry["Node"]["Address"], service["Port"], version
