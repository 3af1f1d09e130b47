"""Whether an instance that was started is ready: it stays up and passes its checks. A note says what it waits for."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace

from . import instancefiles, listening, probes, services
from .files import write_file

# How often a process that is not ready yet is asked again, in seconds.
POLL = 0.1
# How long a process that cannot be asked must have been up to be ready, in seconds.
SETTLE = 2.0
# How often the note is written, in seconds, and after how long it is nobody's any more.
NOTE, STALE = 2.0, 10.0
# The most that a check may take here, in seconds.
TIMEOUT = 5.0
# How much of the note is shown, in characters.
SHOWN = 500


class Readiness:
    """The way of one instance from its start until it is ready.

    :param host: a host.Host; ``states``: returns what the supervisor says of each instance.
    :param values: the instance's placeholders.
    :param first: returns whether its app was never deployed.
    """

    def __init__(self, app, instance, host, states, values, first):
        self.app, self.instance, self.states, self.values, self.first = app, instance, states, values, first
        self.checks = [replace(c, status=None, timeout=min(c.timeout, TIMEOUT)) for c in services.checks(app, instance)]
        self._note = _note(host, instance.id)
        self._failure, self._state, self._hint = None, None, ""
        # Since when it runs, and answers wrongly.
        self._wrong = None

    def wait(self, deadline):
        """Return None once the process is up and passes its checks, else what is wrong with it.

        :param deadline: :func:`time.monotonic` time at which to give up.
        """
        began = noted = time.monotonic()
        # Where there is nothing to ask, all there is to see is that it stays up.
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
        """Ask the supervisor, then each check until one does not pass."""
        self._state, self._failure = self.states().get(self.instance.id), None
        for check in self.checks:
            try:
                probes.ask(check, self.values)
            except probes.ProbeFailed as exc:
                self._failure = (check, exc)
                return

    def _judge(self, now):
        """See whether the process runs and is not what the definition says: it answers, and wrongly, or elsewhere."""
        _, failure = self._failure or (None, None)
        found = listening.of(self._state.pid) if failure and failure.refused and self._state.pid else None
        self._hint = listening.hint(self.instance, found)
        # A server's own error, as 503, is what one says that is not ready yet.
        answers = failure is not None and failure.status is not None and failure.status < 500
        wrong = self._state.running and (answers or bool(found and self._hint))
        self._wrong = (self._wrong or now) if wrong else None

    def _hopeless(self, now):
        """Whether it has been wrong for so long that waiting is of no use: nobody is served by an app that is new."""
        patience = self.app.strategy.first_deadline
        if self._wrong is None or now - self._wrong < patience or patience >= self.app.strategy.healthy_deadline:
            return False
        if not self.first():
            self._wrong = now  # it is asked after as long again
            return False
        return True

    def _problem(self, seconds):
        what = "it runs, and is not up for long enough"
        if self._failure:
            check, failure = self._failure
            what = "; ".join(filter(None, [f"check `{check.describe()}`: {failure}", self._hint]))
        elif not self._state.running:
            what = self._state.detail
        return f"is not ready after {seconds:.0f}s: {what}"

    def _advice(self):
        return (
            f"It was so for {self.app.strategy.first_deadline:g}s, and {self.app.name} was never deployed before. To"
            f" wait for longer, write `healthy_deadline` into its strategy"
        )


def notes(host, name):
    """Return what instances of app ``name`` wait for that are being started: id -> text."""
    found = {}
    for instance in host.instances.recorded(name):
        path = _note(host, instance.id)
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < STALE:
                found[instance.id] = path.read_text(errors="replace")[:SHOWN]
    return found


def _note(host, instance):
    return host.instances.folder(instance) / instancefiles.WAITING
