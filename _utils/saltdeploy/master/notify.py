"""Sends events of a run to the master's event bus and to a webhook. A failure does not fail the run."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import salt.utils.event

from ..core import events, tracebacks, words
from ..core.errors import INTERRUPTS, REFUSED
from . import signals

if TYPE_CHECKING:
    from ..core.environment import Environment, Webhook
    from .journal import Journal

log = logging.getLogger(__name__)

# How long a webhook may take to accept a connection, and then to answer, in seconds. It only has to accept an event.
TIMEOUT = 3.0
# How often an event is sent at most. Two more tries are enough for a receiver that is just being restarted ...
TRIES = 3
# ... with this pause before each, in seconds.
PAUSE = 1.0
# How long the end of a run waits for unsent events, in seconds: all tries of one event, if nobody answers.
PATIENCE = TRIES * TIMEOUT + (TRIES - 1) * PAUSE


class Notifier:
    """Context manager around one run: each begun report gets an end. Enter it before taking the lock.

    :param opts: the master's options.
    :param journal: the run's journal.Journal.
    :param webhook: a environment.Webhook, or None.
    :param about: the keys of all events: ``app``, ``environment``, ``deployment``, ``owner``, ``reason``, ``verb``.
    """

    def __init__(
        self, opts: Mapping[str, Any], journal: Journal, webhook: Webhook | None, about: dict[str, str]
    ) -> None:
        self.journal, self.about = journal, about
        self._bus, self._hook = Bus(opts), Outbox(webhook) if webhook else None
        self._phases = events.Phases(self._tell)
        self._result: Mapping[str, Any] | None = None
        self._begun: float | None = None
        self._count = 0

    def __enter__(self) -> Notifier:
        return self

    def begin(self, version: str, plan: Iterable[str], nodes: Iterable[str]) -> None:
        """Send the event that the run begins to change something.

        :param version: the release that the run is about.
        :param plan: the steps that it is going to take, in sentences.
        :param nodes: names of the nodes that it may touch.
        """
        if self._hook:
            self._hook.start()
        self.about["version"], self._begun = version, time.monotonic()
        self.journal.observer = self._phases
        self._tell("begin", nodes=sorted(nodes), plan=list(plan))

    def end(self, result: Mapping[str, Any]) -> None:
        """Take the run's result. It is sent once the lock is free, because a reactor may want the lock at once."""
        self._result = result

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if self._begun is None:
            return
        self.journal.observer = self.journal.wave = None
        try:
            self._phases.cut()
            self._tell_end(exc, round(time.monotonic() - self._begun, 3))
            for problem in (self._bus.problem, self._hook.close() if self._hook else ""):
                if problem:
                    self.journal.warn(problem)
        except INTERRUPTS:  # the run's changes stay, and its result must still be reported
            self.journal.warn("interrupted while the last events were sent: they may not have arrived")

    def _tell_end(self, exc: BaseException | None, seconds: float) -> None:
        if self._result:
            outcome, code = self._result["outcome"], self._result["retcode"]
            error, verdict = self._result["why"], self._result["verdict"]
        else:
            outcome, code = "refused", REFUSED
            error = tracebacks.told(exc) if exc and not isinstance(exc, INTERRUPTS) else "it was interrupted"
            verdict = f"nothing was changed: {error}"
        nodes = sorted(self._phases.touched)
        if outcome == "paused":
            self._tell("paused", nodes=nodes, outcome=outcome)
        texts = {"error": events.shortened(error), "verdict": events.shortened(verdict)}
        self._tell("end", nodes=nodes, seconds=seconds, outcome=outcome, retcode=code, **texts)

    def _tell(self, what: str, **data: Any) -> None:
        self._count += 1
        common = {"number": self._count, "time": time.time(), "wave": self.journal.wave, "outcome": "", "error": ""}
        tag, data = events.tag(self.about["environment"], self.about["app"], what), {**self.about, **common, **data}
        self._bus.fire(tag, data)
        if self._hook:
            self._hook.put(what, {"tag": tag, "data": data})


class Bus:
    """The master's event bus.

    :param opts: the master's options.

    ``problem`` is a sentence on events that could not be fired, or empty.
    """

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self.opts, self.problem = opts, ""

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Fire an event. It raises nothing, because a deployment goes on without listeners."""
        try:
            where = self.opts["sock_dir"]
            with signals.held(), salt.utils.event.get_master_event(self.opts, where, listen=False) as bus:
                # The bus adds its own keys to the mapping that it gets.
                fired = bus.fire_event(dict(data), tag)
        except Exception as exc:  # any error of Salt's transport
            log.warning("The event %s was not fired: %s", tag, tracebacks.told(exc))
            fired = False
        if not fired:
            self.problem = f"events were not all fired on the master's bus, at last {tag}: see the master's log"


class Outbox:
    """The events for a webhook. A thread sends them one after the other, so that nobody waits for them.

    :param webhook: a environment.Webhook.
    :param post: sends one request, as :func:`requests.post`.
    """

    def __init__(self, webhook: Webhook, post: Callable[..., Any] = requests.post) -> None:
        self.webhook, self._post = webhook, post
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._stopped = threading.Event()
        self._given = self._delivered = 0
        self._problem = ""
        # A daemon thread: a webhook that never answers does not keep salt-run from ending.
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, what: str, event: Mapping[str, Any]) -> None:
        """Send ``event`` some time soon, if the webhook wants ``what``."""
        if what in self.webhook.events:
            self._given += 1
            self._queue.put(event)

    def close(self, patience: float = PATIENCE) -> str:
        """Wait at most ``patience`` seconds until all is sent. Return a sentence on unsent events, or an empty text."""
        self._queue.put(None)
        self._thread.join(patience)
        self._stopped.set()
        lost = self._given - self._delivered
        if not lost:
            return ""
        why = self._problem or f"not sent within {patience:g}s after the end"
        return f"webhook {self.webhook.place}: {lost} of {self._given} events did not arrive ({why})"

    def _work(self) -> None:
        problem = ""
        for event in iter(self._queue.get, None):
            # A webhook that just did not answer gets only one try, so that the last event is sent, too.
            problem = self._deliver(event, 1 if problem else TRIES)
            if self._stopped.is_set():
                return
            self._problem = problem or self._problem
            self._delivered += not problem

    def _deliver(self, event: Mapping[str, Any], tries: int) -> str:
        """Send ``event``. Return the problem, or an empty text if it arrived."""
        for left in reversed(range(tries)):
            problem, again = self._send(event)
            if not (problem and again and left) or self._stopped.wait(PAUSE):
                break
        return problem

    def _send(self, event: Mapping[str, Any]) -> tuple[str, bool]:
        """Send ``event`` once. Return the problem, and whether another try may succeed."""
        try:
            headers = {**self.webhook.headers, **_authorization(self.webhook.token_file)}
        except (OSError, ValueError) as exc:
            return _unreadable(self.webhook.token_file, exc), False
        try:
            # No retries of urllib3, because it logs them with path and query. No redirects, because they turn it into
            # a GET.
            with (
                words.unlogged("urllib3"),
                self._post(
                    self.webhook.url, json=event, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True
                ) as response,
            ):
                code = response.status_code
        except Exception as exc:  # the library requests lets errors of its own libraries through
            return _reason(exc), True
        return ("" if 200 <= code < 300 else f"it answered {code}"), code >= 500 or code == 429


def lacking(environment: Environment) -> list[str]:
    """Return why this master cannot send the events of an Environment to its webhook, as sentences."""
    path = environment.webhook.token_file if environment.webhook else ""
    try:
        _authorization(path)
    except (OSError, ValueError) as exc:
        at = f"environments:{environment.name}:notify:webhook"
        return [f"{at}:{_unreadable(path, exc)}, on the master. Without the token no event is sent to the webhook."]
    return []


def _unreadable(path: str, exc: Exception) -> str:
    return f"token_file {path}: {getattr(exc, 'strerror', None) or type(exc).__name__}"


def _authorization(path: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {Path(path).read_text().strip()}"} if path else {}


def _reason(exc: BaseException) -> str:
    """Return the problem in the system's words, because the library requests includes the URL or a header."""
    if isinstance(exc, requests.Timeout):
        return f"no answer within {TIMEOUT:g}s"
    what = type(exc).__name__
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{what}: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return what
