"""The services of a node and the results of their checks, in memory and on disk."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import addresses
from ..core.errors import Refused
from ..discovery.backend import Endpoint
from ..discovery.skydnsrecords import worst
from ..system import processes
from .checks import SHOWN, Check, Malformed, Result, parse

LOG = logging.getLogger(__name__)
# A service's id is a part of a key and of the name of a file, its name is a label of DNS.
IDENT, NAME = (
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+~-]{0,199}"),
    re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"),
)
# The most weight of a record.
WEIGHT = 65535
# How often reports that did not come, and services to remove, are looked for, in seconds.
TICK = 0.25
# Within how many seconds after the start of the agent each check runs once.
SPREAD = 1.0
# How much later than its time a check may run until its last result is not believed any more, in seconds.
LATE = 1.0


def now() -> float:
    """Return the seconds since the machine was started. They go on while it sleeps, and do not jump."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class State:
    """A check with its results.

    :param shown: the output at the last change of the status, which etcd has.
    :param good: how many results in a row were good; ``bad``: how many were bad.
    :param ran: when the last result came, None if none has come yet.
    :param since: since when it is critical, None if it is not.
    """

    check: Check
    status: str
    output: str = ""
    shown: str = ""
    good: int = 0
    bad: int = 0
    ran: float | None = None
    since: float | None = None
    began: float = field(default_factory=now)
    stopped: threading.Event = field(default_factory=threading.Event)

    def take(self, result: Result) -> bool:
        """Take a result in, and return whether etcd must know of it."""
        first, self.ran, self.output = self.ran is None, now(), result.output
        if result.status == "critical":
            self.good, self.bad = 0, self.bad + 1
            counts = self.bad >= self.check.failures
        else:
            self.good, self.bad = self.good + 1, 0
            counts = self.good >= self.check.successes
        return self.turn(result.status if counts else self.status) or first

    def turn(self, status: str) -> bool:
        """Give it a status, and return whether that is another."""
        changed = status != self.status
        if status != "critical":
            self.since = None
        elif self.since is None:
            self.since = now()
        self.status = status
        if changed or not self.shown:
            self.shown = self.output
        return changed

    @property
    def is_stale(self) -> bool:
        """Whether its last result is so old that something must have held the agent up."""
        late = self.check.interval + self.check.timeout + LATE
        return self.check.runs and now() - (self.began if self.ran is None else self.ran) > late


@dataclass
class Registered:
    """A service.

    :param body: its registration, as it came.
    """

    endpoint: Endpoint
    body: Mapping[str, Any]
    states: dict[str, State]


class Registry:
    """The services of a node. All threads may use it.

    :param folder: the folder for a file of each service. It may hold secrets of checks.
    """

    def __init__(self, node: str, folder: Path) -> None:
        self.node, self._folder = node, folder
        self._services: dict[str, Registered] = {}
        self._changed = threading.Condition(threading.RLock())
        self._version = self._known = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        threading.Thread(target=self._tick, name="reports", daemon=True).start()

    # -- services -----------------------------------------------------------------------------

    def load(self, believed: bool) -> None:
        """Load the services that are on disk.

        :param believed: whether their last statuses count until their checks have run. Otherwise they are critical.
        """
        # A publication comes after its candidate, whose check it takes over.
        for path in sorted(self._folder.glob("*.json"), reverse=True):
            try:
                found = json.loads(path.read_text())
                statuses = found["statuses"] if believed and found["boot"] == processes.boot() else {}
                self._add(found["body"], statuses, SPREAD, fresh=False)
            except (OSError, ValueError, KeyError, TypeError, Refused, Malformed) as exc:
                LOG.error("%s: cannot be used and is left out (%s)", path, type(exc).__name__)

    def register(self, body: Mapping[str, Any]) -> int:
        """Take a registration, in place of the one with the same id. Return the version of all services then.

        :raises Malformed: it cannot be used.
        :raises OSError: it cannot be kept.
        """
        return self._add(body, {}, 0.0, fresh=True)

    def deregister(self, ident: str) -> int:
        """Remove a service. Return the version of all services then.

        :raises KeyError: there is no such service.
        :raises OSError: its file cannot be removed.
        """
        with self._changed:
            gone = self._services[ident]
            self._path(ident).unlink(missing_ok=True)
            del self._services[ident]
            for state in gone.states.values():
                state.stopped.set()
            LOG.info("%s: deregistered", ident)
            return self._touch()

    def _add(self, body: Mapping[str, Any], statuses: Mapping[str, str], spread: float, fresh: bool) -> int:
        endpoint, checks = _parsed(body, self.node)
        with self._changed:
            before = self._services.get(endpoint.id)
            others = [r for r in self._services.values() if r is not before]
            states = {}
            for check in checks:
                old = before.states.get(check.ident) if before else None
                # The later registration takes over the check of an earlier service: that of a candidate, for example.
                old = next((r.states[check.ident] for r in others if check.ident in r.states), old)
                status = old.status if old else statuses.get(check.ident, check.initial if fresh else "critical")
                states[check.ident] = state = State(check, status)
                if old:
                    state.output, state.shown, state.ran, state.since = old.output, old.shown, old.ran, old.since
                elif status == "critical":
                    state.since = now()
            registered = Registered(endpoint, body, states)
            self._keep(registered)
            self._services[endpoint.id] = registered
            for other in others:
                for ident in states:
                    if ident in other.states:
                        other.states.pop(ident).stopped.set()
            for state in before.states.values() if before else ():
                state.stopped.set()
            for state in states.values():
                if state.check.runs:
                    name, wait = f"check {state.check.ident}", random.uniform(0, spread)
                    threading.Thread(target=self._run, args=(endpoint.id, state, wait), name=name, daemon=True).start()
            LOG.info("%s: registered as %s", endpoint.id, endpoint.name)
            return self._touch()

    def _keep(self, registered: Registered) -> None:
        """Write a service to disk, whole or not at all."""
        path = self._path(registered.endpoint.id)
        statuses = {ident: state.status for ident, state in registered.states.items()}
        partial = path.with_suffix(".partial")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump({"body": registered.body, "statuses": statuses, "boot": processes.boot()}, out)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)

    def _path(self, ident: str) -> Path:
        return self._folder / f"{ident}.json"

    # -- results ------------------------------------------------------------------------------

    def report(self, ident: str, status: str, output: str) -> bool:
        """Take the report of an app to its check ``ident``. Return False if there is no such check."""
        with self._changed:
            for registered in self._services.values():
                state = registered.states.get(ident)
                if state and state.check.kind == "TTL":
                    self._note(registered, state, Result(status, output[:SHOWN]))
                    return True
        return False

    def distrust(self) -> None:
        """Take no result for true that is older than it can be: the agent, or the machine, was held up."""
        with self._changed:
            for registered in self._services.values():
                for state in registered.states.values():
                    if state.is_stale:
                        state.good = state.bad = 0
                        state.output = "not checked for some time"
                        state.turn("critical")
            self._touch()

    def _run(self, ident: str, state: State, wait: float) -> None:
        """Run a check again and again, in a thread of its own: one that hangs holds up no other."""
        while not state.stopped.wait(wait):
            try:
                result = state.check.run()
            except Exception as exc:  # the thread must go on, and the check did not pass
                LOG.exception("%s", state.check.name)
                result = Result("critical", f"the health agent could not ask: {type(exc).__name__}")
            with self._changed:
                registered = self._services.get(ident)
                if registered and not state.stopped.is_set():
                    self._note(registered, state, result)
            wait = state.check.interval

    def _note(self, registered: Registered, state: State, result: Result) -> None:
        before = state.status
        if state.take(result):
            self._touch()
        if state.status != before:
            LOG.info("%s: %s is %s", registered.endpoint.id, state.check.name, state.status)
            with contextlib.suppress(OSError):  # after the next start, its checks run first
                self._keep(registered)

    def _tick(self) -> None:
        while True:
            time.sleep(TICK)
            with self._changed:
                for ident, registered in list(self._services.items()):
                    for state in registered.states.values():
                        self._expire(registered, state)
                        # Its thread is held up, or has ended.
                        if state.is_stale and state.status != "critical":
                            self.distrust()
                    if any(self._is_over(state) for state in registered.states.values()):
                        try:
                            self.deregister(ident)
                        except OSError as exc:
                            LOG.error("%s: cannot be removed: %s", ident, exc.strerror)

    def _expire(self, registered: Registered, state: State) -> None:
        last = state.began if state.ran is None else max(state.ran, state.began)
        if state.check.kind == "TTL" and state.status != "critical" and now() - last > state.check.ttl:
            state.output = "TTL expired"
            state.good, state.bad, state.shown = 0, 0, "TTL expired"
            state.turn("critical")
            LOG.info("%s: %s: no report came", registered.endpoint.id, state.check.name)
            self._touch()

    @staticmethod
    def _is_over(state: State) -> bool:
        leaves = state.check.leaves
        return leaves is not None and state.since is not None and now() - state.since > leaves

    # -- the view of others ----------------------------------------------------------------------

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[tuple[int, list[Registered]]]:
        """Yield the version, and all services. Nothing changes meanwhile."""
        with self._changed:
            yield self._version, list(self._services.values())

    def status(self, registered: Registered, state: State) -> str:
        """Return the status of a check. An alias has that of the service it names, as Consul gives it."""
        if state.check.kind != "AliasService":
            return state.status
        other = self._services.get(state.check.target)
        own = [each.status for each in other.states.values()] if other and other is not registered else ["critical"]
        return worst(own)

    def await_change(self, version: int, seconds: float) -> None:
        """Block until the services have another version, or ``seconds`` have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, seconds)

    @property
    def version(self) -> int:
        """The version of all services."""
        with self._changed:
            return self._version

    def known(self, version: int) -> None:
        """Say that etcd has this version."""
        with self._changed:
            self._known = max(self._known, version)
            self._changed.notify_all()

    def await_known(self, version: int, seconds: float) -> bool:
        """Block until etcd has this version, or ``seconds`` have passed. Return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._known >= version, seconds)

    def _touch(self) -> int:
        self._version += 1
        self._changed.notify_all()
        return self._version


def _parsed(body: Mapping[str, Any], node: str) -> tuple[Endpoint, list[Check]]:
    """Return the service and the checks that a registration describes.

    :raises Malformed: it cannot be used.
    """
    try:
        name = str(body["Name"])
        ident, address = str(body.get("ID") or name), addresses.canonical(str(body["Address"]))
        weights, port = body.get("Weights") or {}, int(body.get("Port") or 0)
        given = [*(body.get("Checks") or ()), *([body["Check"]] if body.get("Check") else ())]
        endpoint = Endpoint(
            id=ident,
            name=name,
            node=node,
            address=address,
            port=port,
            tags=tuple(map(str, body.get("Tags") or ())),
            meta={str(key): str(value) for key, value in (body.get("Meta") or {}).items()},
            weight=int(weights.get("Passing", 1)),
        )
        checks = [parse(each, ident, number) for number, each in enumerate(given, 1)]
    except KeyError as exc:
        raise Malformed(f"a registration needs {exc.args[0]}") from None
    except Refused:  # It is a TypeError, too.
        raise
    except (TypeError, ValueError, AttributeError):
        raise Malformed("the registration has a value of another type than Consul's") from None
    if not NAME.fullmatch(name) or not IDENT.fullmatch(ident):
        raise Malformed("Name must be a label of DNS, and ID may have letters, digits and ._:@+~- only")
    if not 0 <= port <= 65535 or not 0 <= endpoint.weight <= WEIGHT:
        raise Malformed(f"Port and Weights:Passing of {ident} are from 0 to 65535")
    if len({check.ident for check in checks}) < len(checks):
        raise Malformed(f"two checks of {ident} have the same CheckID")
    return endpoint, checks
