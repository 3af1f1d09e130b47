"""The readiness of a started instance: it stays up and passes its checks. Meanwhile a note gives the last result."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from ..core.redaction import hidden
from ..definition import instancefiles
from ..discovery import registration
from ..system import probes
from ..system.files import write_file
from . import listeners

# How often a process that is not ready yet is asked again, in seconds.
POLL = 0.1
# How long a process without checks must have been up to be ready, in seconds.
SETTLE = 2.0
# How often the note is written, and how old a note of a running job can be, in seconds.
NOTE, STALE = 2.0, 10.0
# The longest time that a check may take here, in seconds.
TIMEOUT = 5.0
# How much of the note is shown, in characters.
SHOWN = 500


class Readiness:
    """The time of an instance from its start until it is ready.

    :param host: a host.Host.
    :param states: returns the supervisor's state of each instance.
    :param values: the instance's placeholders.
    :param first: returns whether its app was never deployed.
    """

    def __init__(self, app, instance, host, states, values, first):
        self.app, self.instance, self.states, self.values, self.first = app, instance, states, values, first
        self.checks = [
            replace(c, status=None, timeout=min(c.timeout, TIMEOUT)) for c in registration.checks(app, instance)
        ]
        self._note = _note(host, instance.id)
        self._failure, self._state, self._hint = None, None, ""
        # The time since which the instance runs and gives wrong answers.
        self._wrong = None

    def wait(self, deadline):
        """Wait until the process is up and passes its checks. Return None then, else the problem.

        :param deadline: :func:`time.monotonic` time at which to give up.
        """
        began = noted = time.monotonic()
        # Without checks, the only sign of readiness is that the process stays up.
        settled = began + (0 if self.checks else SETTLE)
        try:
            while True:
                self._look()
                if self._state is None or self._state.failed:
                    return f"does not stay up: {self._state.detail if self._state else 'unknown to the supervisor'}"
                now = time.monotonic()
                if self._state.running and not self._failure and now >= settled:
                    return None
                if now >= min(noted + NOTE, deadline):
                    noted = now
                    self._judge(now)
                    write_file(self._note, self._problem(now - began), 0o600)
                if now > deadline:
                    return self._problem(self.app.strategy.healthy_deadline)
                if self._hopeless(now):
                    return f"{self._problem(now - began)}. {self._advice()}"
                time.sleep(POLL)
        finally:
            self._note.unlink(missing_ok=True)

    def _look(self):
        """Ask the supervisor. Then run each check until one fails."""
        self._state, self._failure = self.states().get(self.instance.id), None
        for check in self.checks:
            try:
                probes.ask(check, self.values)
            except probes.ProbeFailed as exc:
                self._failure = (check, exc)
                return

    def _judge(self, now):
        """Note since when the instance gives wrong answers, and whether it listens elsewhere.

        It may open its port later.
        """
        _, failure = self._failure or (None, None)
        found = listeners.of(self._state.pid) if failure and failure.refused and self._state.pid else None
        self._hint = listeners.hint(self.instance, found)
        # A server that is not ready yet may answer with an error of its own, such as 503.
        answers = failure is not None and failure.status is not None and failure.status < 500
        self._wrong = (self._wrong or now) if self._state.running and answers else None

    def _hopeless(self, now):
        """Return whether waiting is useless, as a new app gave wrong answers for longer than its first_deadline."""
        patience = self.app.strategy.first_deadline
        if self._wrong is None or now - self._wrong < patience or patience >= self.app.strategy.healthy_deadline:
            return False
        if not self.first():
            self._wrong = now  # ask again after the same time
            return False
        return True

    def _problem(self, seconds):
        reason = "it runs, but not for long enough yet"
        if self._failure:
            check, failure = self._failure
            answer = hidden(str(failure), self.app.env)
            reason = "; ".join(filter(None, [f"check `{check.describe()}`: {answer}", self._hint]))
        elif not self._state.running:
            reason = self._state.detail
        return f"is not ready after {seconds:.0f}s: {reason}"

    def _advice(self):
        return (
            f"This lasted {self.app.strategy.first_deadline:g}s, and {self.app.name} was never deployed before. To wait"
            f" longer, write `healthy_deadline` into its strategy"
        )


def notes(host, name):
    """Return the notes on the instances of app ``name`` that a job is starting: id -> text."""
    found = {}
    for instance in host.instances.recorded(name):
        path = _note(host, instance.id)
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < STALE:
                found[instance.id] = path.read_text(errors="replace")[:SHOWN]
    return found


def _note(host, instance):
    return host.instances.folder(instance) / instancefiles.WAITING
