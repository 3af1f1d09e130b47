"""The readiness of a started instance: it stays up and passes its checks. Meanwhile a note gives the last result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..core.redaction import hidden
from ..definition import instancefiles
from ..discovery import registration
from ..system import probes
from ..system.files import write_file
from . import listeners

if TYPE_CHECKING:
    from ..core.model import App, Instance, Probe
    from ..runtime.base import State
    from .host import Host
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


class Failure(NamedTuple):
    """A check that failed, and its error."""

    check: Probe
    error: probes.ProbeFailed


class Readiness:
    """The time of an instance from its start until it is ready.

    :param states: returns the supervisor's state of each instance.
    :param values: the instance's placeholders.
    :param results: returns the results that discovery has of its checks: name -> status and output.
    :param first: returns whether its app was never deployed.
    :param checks: its checks. None takes those of the definition.
    """

    def __init__(
        self,
        app: App,
        instance: Instance,
        host: Host,
        states: Callable[[], Mapping[str, State]],
        values: Mapping[str, object],
        results: Callable[[], Mapping[str, tuple[str, str]]],
        first: Callable[[], bool],
        checks: Sequence[Probe] | None = None,
    ) -> None:
        self.app, self.instance, self.states, self.values, self.first = app, instance, states, values, first
        self.results = results
        self.checks = [
            # A script has the time that it has, because its watcher does not run it twice at once.
            c if c.kind == "script" else replace(c, status=None, timeout=min(c.timeout, TIMEOUT))
            for c in (registration.checks(app, instance) if checks is None else checks)
        ]
        self._note, self._folder = _note(host, instance.id), str(host.instances.folder(instance.id))
        self._hint = ""
        # The time since which the instance runs and gives wrong answers.
        self._wrong: float | None = None

    def wait(self, deadline: float) -> str | None:
        """Wait until the process is up and passes its checks. Return None then, else the problem.

        :param deadline: :func:`time.monotonic` time at which to give up.
        """
        began = noted = time.monotonic()
        # Without checks, the only sign of readiness is that the process stays up.
        settled = began + (0 if self.checks else SETTLE)
        try:
            while True:
                state = self.states().get(self.instance.id)
                if state is None or state.failed:
                    return f"does not stay up: {state.detail if state else 'unknown to the supervisor'}"
                failure, now = self._find_failure(), time.monotonic()
                if state.running and not failure and now >= settled:
                    return None
                if now >= min(noted + NOTE, deadline):
                    noted = now
                    self._judge(now, state, failure)
                    write_file(self._note, self._problem(now - began, state, failure), 0o600)
                if now > deadline:
                    return self._problem(self.app.strategy.healthy_deadline, state, failure)
                if self._is_hopeless(now):
                    return f"{self._problem(now - began, state, failure)}. {self._advice()}"
                time.sleep(POLL)
        finally:
            self._note.unlink(missing_ok=True)

    def _find_failure(self) -> Failure | None:
        """Run each check until one fails. Then ask discovery for the results of the checks that only it has."""
        for check in self.checks:
            try:
                if check.kind not in registration.REMOTE:
                    probes.ask(check, self.values)
            except probes.ProbeFailed as exc:
                return Failure(check, exc)
        remote = [check for check in self.checks if check.kind in registration.REMOTE]
        return next(find_failures(remote, self.results()), None) if remote else None

    def _judge(self, now: float, state: State, failure: Failure | None) -> None:
        """Note since when the instance gives wrong answers, and whether it listens elsewhere.

        It may open its port later.
        """
        refused = failure is not None and failure.error.refused
        found = listeners.of(state.pid, self._folder) if refused and state.pid else None
        self._hint = listeners.hint(self.instance, found)
        # A server that is not ready yet may answer with an error of its own, such as 503.
        status = failure.error.status if failure else None
        answers = status is not None and status < 500
        self._wrong = (self._wrong or now) if state.running and answers else None

    def _is_hopeless(self, now: float) -> bool:
        """Return whether waiting is useless, as a new app gave wrong answers for longer than its first_deadline."""
        patience = self.app.strategy.first_deadline
        if self._wrong is None or now - self._wrong < patience or patience >= self.app.strategy.healthy_deadline:
            return False
        if not self.first():
            self._wrong = now  # ask again after the same time
            return False
        return True

    def _problem(self, seconds: float, state: State, failure: Failure | None) -> str:
        reason = "it runs, but not for long enough yet"
        if failure:
            answer = hidden(str(failure.error), self.app.env)
            reason = "; ".join(filter(None, [f"check `{failure.check.describe()}`: {answer}", self._hint]))
        elif not state.running:
            reason = state.detail
        return f"is not ready after {seconds:.0f}s: {reason}"

    def _advice(self) -> str:
        return (
            f"This lasted {self.app.strategy.first_deadline:g}s, and {self.app.name} was never deployed before. To wait"
            f" longer, write `healthy_deadline` into its strategy"
        )


def find_failures(checks: Sequence[Probe], results: Mapping[str, tuple[str, str]]) -> Iterator[Failure]:
    """Yield the failures of ``checks`` by the ``results`` of discovery, see backend.Backend.results."""
    for check in checks:
        status, output = results.get(registration.check_name(check), ("", ""))
        told = " ".join(output.split())
        if check.kind == "ttl":
            told = f"no report of the app has come ({told})".replace(" ()", "")
        if status != "passing":
            yield Failure(check, probes.ProbeFailed(told or "discovery has not run it yet"))


def notes(host: Host, name: str) -> dict[str, str]:
    """Return the notes on the instances of app ``name`` that a job is starting: id -> text."""
    found = {}
    for instance in host.instances.recorded(name):
        path = _note(host, instance.id)
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < STALE:
                found[instance.id] = path.read_text(errors="replace")[:SHOWN]
    return found


def _note(host: Host, instance: str) -> Path:
    return host.instances.folder(instance) / instancefiles.WAITING
