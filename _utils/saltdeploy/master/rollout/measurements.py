"""Takes the measurements of the newly published instances that a strategy's ``analysis`` asks for.

The master itself asks ``http`` and ``prometheus``, each in a thread. A ``command`` is a Salt job at an instance of the
wave, as the app's Unix user. The master runs no command of a definition.
"""

from __future__ import annotations

import http.client
import logging
import queue
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ...core import analysis, redaction, tracebacks
from ...core.analysis import Inconclusive, Measurement, Ways
from ...core.errors import Failed
from ...core.redaction import hidden
from ...system import httpclient
from ..remote import answers
from ..remote.jobs import TALK_DEADLINE

if TYPE_CHECKING:
    from ...core.model import App, Gate
    from ..remote.jobs import Jobs

log = logging.getLogger(__name__)

PHASE = "measure"
# How often to check the lock while nothing is measured, in seconds.
BEAT = 5.0


@dataclass(frozen=True)
class Where:
    """The target of a measurement: a release, and the instance of it at which commands run."""

    environment: str
    version: str
    node: str
    instance: str


def run(jobs: Jobs, app: App, where: Where, check: Callable[[], None] = lambda: None) -> None:
    """Take the measurements of all gates of ``app``, side by side, until each has its verdict.

    :param check: called now and then, and at the end. If it raises, the measuring ends.
    :raises Failed: a gate is not passed. The message has its name, the measured values and the condition.
    """
    gates = {gate.name: gate for gate in app.strategy.analysis}
    if gates:
        longest = max(gate.count * gate.interval for gate in gates.values())
        jobs.journal.say(f"measuring {', '.join(gates)}, for {longest:g}s: the replaced instances serve meanwhile")
        _Run(jobs, app, where, check).all(gates)


class _Run:
    """One loop handles all gates in this thread, because commands, the journal and the lock belong to it."""

    def __init__(self, jobs: Jobs, app: App, where: Where, check: Callable[[], None]) -> None:
        self.jobs, self.app, self.where, self.check = jobs, app, where, check
        self.values = {"app": app.name, "version": where.version, "environment": where.environment}
        self.arrived: queue.SimpleQueue[tuple[str, float, Measurement]] = queue.SimpleQueue()
        # Gate's name -> the thread of its last request, which may still run after the gate's timeout.
        self.asking: dict[str, threading.Thread] = {}

    def all(self, gates: Mapping[str, Gate]) -> None:
        now = time.monotonic()
        due = {name: now + gate.interval for name, gate in gates.items()}
        taken: dict[str, list[Measurement]] = {name: [] for name in gates}
        waiting = set(gates)
        while waiting:
            self.check()
            now = time.monotonic()
            for name in [name for name, at in due.items() if at <= now]:
                del due[name]
                self._begin(gates[name])
            try:
                name, began, measurement = self.arrived.get(timeout=_until(due, time.monotonic()))
            except queue.Empty:
                continue
            gate = gates[name]
            taken[name].append(measurement)
            self._tell(gate, taken[name], time.monotonic() - began)
            problem = analysis.verdict(gate, taken[name])
            if problem:
                raise Failed(problem)
            if problem is None:
                due[name] = began + gate.interval
            else:
                waiting.remove(name)
        self.check()

    def _begin(self, gate: Gate) -> None:
        """Begin a measurement. It arrives after ``timeout`` at the latest."""
        if analysis.KINDS[gate.kind].on_node:
            began = time.monotonic()
            ways = Ways(partial(_get, gate), partial(self._run, gate))
            self.arrived.put((gate.name, began, attempt(lambda: _measure(gate, self.values, ways))))
        else:
            # A daemon thread: if the run ends first, it does not wait for the answer.
            threading.Thread(target=self._ask, args=[gate], name=f"measure {gate.name}", daemon=True).start()

    def _ask(self, gate: Gate) -> None:
        began = time.monotonic()
        self.arrived.put((gate.name, began, attempt(lambda: ask(gate, self.values, self.asking))))

    def _run(self, gate: Gate, command: str) -> tuple[int | None, str]:
        """Run a command at an instance of the wave. Return exit code and output."""
        node, instance = self.where.node, self.where.instance
        job = (self.app.name, command, instance, gate.timeout)
        deadline = gate.timeout + TALK_DEADLINE
        replies = self.jobs.fleet.run("app.command", [node], *job, placeholders=True, deadline=deadline)
        reply = answers.compared(replies, lambda value: answers.command(value, instance))[node]
        if not reply.ok:
            raise Inconclusive(f"{node}: {reply.error}")
        return reply.value["code"], hidden(reply.value["output"], self.app.env)

    def _tell(self, gate: Gate, taken: Sequence[Measurement], seconds: float) -> None:
        good = analysis.good(gate, taken[-1])
        said = f"{gate.name} {len(taken)}/{gate.count}: {taken[-1]}"
        wanted = "" if good else f", wanted is {analysis.condition(gate)}"
        self.jobs.journal.add(
            PHASE, self.where.node if analysis.KINDS[gate.kind].on_node else "", said + wanted, seconds, good
        )


def _until(due: Mapping[str, float], now: float) -> float:
    """Return how long to wait until a measurement is due, in seconds, but at most BEAT."""
    return max(0.0, min([BEAT, *(at - now for at in due.values())]))


def attempt(measure: Callable[[], Measurement]) -> Measurement:
    """Return the Measurement that ``measure()`` makes, or an inconclusive Measurement if anything goes wrong."""
    try:
        return measure()
    except Inconclusive as exc:
        return Measurement(None, str(exc))
    except (OSError, http.client.HTTPException) as exc:
        return Measurement(None, _reason(exc))
    except Failed as exc:
        return Measurement(None, str(exc))
    except Exception as exc:  # the run would wait in vain for a thread that ends without a result
        log.debug("Unexpected in a measurement", exc_info=exc)
        return Measurement(None, tracebacks.told(exc))


def ask(gate: Gate, values: Mapping[str, str], asking: dict[str, threading.Thread] | None = None) -> Measurement:
    """Take one measurement from the master. It is inconclusive if ``timeout`` is over.

    :param values: the values of the gate's placeholders.
    :param asking: gate's name -> the thread of its last request. While that request still gets bytes of an answer,
        there is no other. Otherwise a server that drips bytes would cost a thread for each measurement.
    """
    asking = {} if asking is None else asking
    if gate.name in asking and asking[gate.name].is_alive():
        return Measurement(None, "the request before is not answered yet")
    answers: queue.SimpleQueue[Measurement] = queue.SimpleQueue()
    # Nothing bounds the time in which the system finds the address of a name.
    thread = threading.Thread(
        target=lambda: answers.put(attempt(lambda: _measure(gate, values, Ways(partial(_get, gate))))), daemon=True
    )
    asking[gate.name] = thread
    thread.start()
    try:
        return answers.get(timeout=gate.timeout)
    except queue.Empty:
        return Measurement(None, f"no whole answer within {gate.timeout:g}s")


def _measure(gate: Gate, values: Mapping[str, str], ways: Ways) -> Measurement:
    """Take one measurement, as the kind of ``gate`` does it.

    :raises Inconclusive: there is no number. The message has no header and no body of the request.
    """
    kind, answered = analysis.KINDS[gate.kind], []

    def get(url: str, params: Mapping[str, str] | None = None) -> tuple[int, str]:
        answered.append(ways.get(url, params))
        return answered[-1]

    try:
        return kind.measure(gate, values, Ways(get, ways.run))
    except Inconclusive:
        status, text = answered[-1] if answered else (0, "")
        told = redaction.without(text, redaction.of_request(gate.request))
        if told == text:
            raise
    # The message quotes a part of the answer. So it is made again, of an answer without secrets.
    kind.measure(gate, values, Ways(lambda *_: (status, told), ways.run))
    raise Inconclusive("the answer repeats the request, and has no number")


def _get(gate: Gate, url: str, params: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Return status and text."""
    place = httpclient.place(f"{url}?{urllib.parse.urlencode(params)}" if params else url)
    deadline = time.monotonic() + gate.timeout
    try:
        response, body = httpclient.ask(place, gate.request, deadline)
    except (OSError, http.client.HTTPException):
        if time.monotonic() < deadline:
            raise
    # An answer without a length ends where it is cut off.
    if time.monotonic() >= deadline:
        raise Inconclusive(f"no whole answer within {gate.timeout:g}s")
    if len(body) >= httpclient.LIMIT:
        raise Inconclusive(f"the answer is longer than {httpclient.LIMIT >> 20} MiB")
    return response.status, httpclient.text(response, body)


def _reason(exc: OSError | http.client.HTTPException) -> str:
    if isinstance(exc, OSError) and not tracebacks.is_open(type(exc)):
        return tracebacks.told(exc)
    return "connection refused" if isinstance(exc, ConnectionRefusedError) else httpclient.reason(exc)[: analysis.SHOWN]
