"""The deployment lock: one run at a time for an app in an environment.

A Consul session with a TTL holds the lock, and a thread renews the session. The lock itself is advisory. The writes of
the record are not: each is a transaction that Consul refuses once the lock is lost.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..core.errors import INTERRUPTS, DiscoveryUnavailable, Failed, LockLost, Refused
from ..discovery import ELECTION, patiently

if TYPE_CHECKING:
    from ..discovery.backend import Backend

# Consul frees an unrenewed session after one to two TTLs. It accepts no TTL below 10 s.
TTL = 15
LOCK_DELAY = 1.0
# How long to try for a lock that nobody holds, or only dead processes, in seconds. This is a few lock delays.
ACQUIRE_DEADLINE = 10.0
# How often a run that waits looks whether the lock is free, in seconds.
LOOK = 1.0


class Lock:
    """Context manager that holds ``key`` in ``discovery``.

    :param info: the holder and the reason. A run that the lock stops shows them.
    :param wait: seconds to wait for another holder.
    :param on_wait: called once with a sentence on that holder.
    :raises Refused: somebody else holds the lock.
    """

    def __init__(
        self,
        discovery: Backend,
        key: str,
        info: Mapping[str, Any],
        wait: float = 0.0,
        on_wait: Callable[[str], object] = str,
    ) -> None:
        self.discovery, self.key, self._wait, self._on_wait = discovery, key, wait, on_wait
        self.info = {**info, "process": process_identity(), "since": time.time()}
        self.session = ""
        self._spare = ""
        self._stop = threading.Event()
        # Why the lock is lost for good, and why it may be lost, until a renewal shows that it never was.
        self._lost = self._unsure = ""
        self._renewed = time.monotonic()
        self._leaderless = False
        self._keeping = threading.Lock()
        self._renewer = threading.Thread(target=self._renew, name="renew lock", daemon=True)

    def __enter__(self) -> Lock:
        until, told = time.monotonic() + self._wait, False
        while True:
            try:
                return self._enter()
            except Refused as exc:
                left = until - time.monotonic()
                if left <= 0:
                    raise
                if not told:
                    self._on_wait(str(exc))
                told = True
                time.sleep(min(LOOK, left))

    def _enter(self) -> Lock:
        """Take the lock, or raise Refused if somebody else holds it."""
        self.info["since"], self._renewed = time.time(), time.monotonic()
        self.session = self.discovery.create_session(f"deploy {self.key}", TTL)
        try:
            self._acquire()
            self._renewer.start()
        except BaseException as exc:
            # An interrupt can come while the thread starts. It would take the lock again.
            if not isinstance(exc, Refused):
                self._stop.set()
            self.discovery.destroy_session(self.session)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._leaderless:
            return  # the session expires by itself
        try:
            self._renewer.join()
            self.discovery.release(self.key, self.session)
            self.discovery.destroy_session(self.session)
        except (Failed, *INTERRUPTS):
            pass  # the session expires by itself

    def quiet(self) -> threading.Lock:
        """Return a context in which the thread that renews the session does nothing, for example to fork in."""
        return self._keeping

    def check(self) -> None:
        """Raise LockLost unless the lock is surely ours. Consul is asked, because a suspended run cannot know."""
        self._keep()
        if self._lost or self._unsure:
            said = f"was lost ({self._lost})" if self._lost else f"may be lost ({self._unsure})"
            raise LockLost(f"the deployment lock {said}: another run may have it. Run again.")

    def write(self, entries: Mapping[str, Any], delete: Collection[str] = ()) -> None:
        """Write ``{key: value}`` and remove the keys ``delete``. Raises LockLost if somebody else has the lock."""
        if not self._write(entries, delete):
            self.check()  # may get another session
            if not self._write(entries, delete):
                self._lost = "somebody else holds it"
                self.check()

    def _write(self, entries: Mapping[str, Any], delete: Collection[str]) -> bool:
        """Write, and wait out one election. If an attempt got no answer, read whether it was written."""
        patience, again = 0 if self._leaderless else ELECTION, False

        def write() -> bool:
            nonlocal again
            if again and self._is_written(entries, delete):
                return True
            again = True
            return self.discovery.write(entries, self.key, self.session, delete)

        try:
            written = patiently(write, patience)
        except DiscoveryUnavailable:
            self._leaderless = True
            raise
        self._leaderless = False
        return written

    def _is_written(self, entries: Mapping[str, Any], delete: Collection[str]) -> bool:
        """Return whether a write without an answer was done."""
        found = {key: self.discovery.read(key) for key in (*entries, *delete)}
        return all(found[key][0] == value for key, value in entries.items()) and not any(found[k][1] for k in delete)

    def _acquire(self) -> None:
        """Take the lock. Only the lock as read decides, so a lost answer does no harm."""
        give_up = time.monotonic() + ACQUIRE_DEADLINE
        while True:
            holder, index, session = self.discovery.read(self.key)
            if session == self.session:
                return
            process = holder.get("process") if isinstance(holder, dict) else None
            if session and not is_dead(process):
                raise Refused(held(holder, {key: self.info.get(key, "") for key in ("app", "environment")}))
            if time.monotonic() > give_up:
                raise Refused(f"the deployment lock {self.key} cannot be had within {ACQUIRE_DEADLINE:g}s. Run again.")
            if session:
                self.discovery.destroy_session(session)
            if session or not self._try(self.session, index):
                time.sleep(LOCK_DELAY / 5)

    def _try(self, session: str, index: int) -> bool:
        """Ask for the lock once. If no answer comes, the caller reads next whether the lock is ours."""
        try:
            return self.discovery.acquire(self.key, session, self.info, index)
        except DiscoveryUnavailable:
            return False

    def _renew(self) -> None:
        while not self._lost and not self._stop.wait(TTL / 3):
            self._keep()

    def _keep(self) -> None:
        """Renew the session, or get another session, and find out whether the lock is still ours."""
        with self._keeping:
            if self._lost:
                return
            asked = time.monotonic()
            try:
                if self.discovery.renew_session(self.session) or self._again():
                    self._renewed, self._unsure = asked, ""
                else:
                    self._lost = "its session expired"
            except Failed as exc:
                # The session may have expired by now, and we cannot ask. No election takes that long. A session that
                # answers later has lived all the time.
                if time.monotonic() - self._renewed > 2 * TTL:
                    self._unsure = f"not renewed for {2 * TTL}s: {exc}"

    def _again(self) -> bool:
        """Take the lock with another session if nobody had it since. Return whether the lock is ours."""
        # A spare session whose request got no answer may have the lock.
        if not (self._spare and self.discovery.renew_session(self._spare)):
            self._spare = self.discovery.create_session(f"deploy {self.key}", TTL)
        give_up = time.monotonic() + 3 * LOCK_DELAY
        while time.monotonic() < give_up:
            holder, index, locked = self.discovery.read(self.key)
            if locked == self._spare:
                self.session, self._spare = self._spare, ""
                return True
            if locked or holder != self.info:
                break
            if not self._try(self._spare, index):
                time.sleep(LOCK_DELAY / 5)
        self.discovery.destroy_session(self._spare)
        self._spare = ""
        return False


def held(holder: object, about: Mapping[str, str] | None = None) -> str:
    """Return the message for a run that the lock stops.

    :param holder: the value of the lock's key. Anybody may have written it.
    :param about: ``app`` and ``environment``, if the value does not have them.
    """
    holder = {**(about or {}), **(holder if isinstance(holder, dict) else {})}
    since = holder.get("since")
    age = f" for {time.time() - since:.0f}s" if isinstance(since, (int, float)) else ""
    reason = f", reason: {holder['reason']}" if holder.get("reason") else ""
    environment, doing = holder.get("environment"), holder.get("doing", "deployed")
    app = f"{holder['app']} " if holder.get("app") else ""
    what = f"{app}is being {doing} in {environment}" if app else f"{environment} is being {doing}"
    return (
        f"{what} by {holder.get('owner', 'somebody')}{age} (deployment {holder.get('deployment', 'unknown')}{reason})."
        f" Wait for it. If that run is dead, the lock expires by itself within {2 * TTL}s,"
        f" or `salt-run deploy.unlock {app}force=True env={environment}`."
    )


def process_identity() -> dict[str, Any]:
    """Return the identity of this process until the next boot, to find out later whether the process is gone."""
    with open("/proc/sys/kernel/random/boot_id") as boot:
        return {
            "boot": boot.read().strip(),
            "namespace": os.readlink("/proc/self/ns/pid"),
            "pid": os.getpid(),
            "started": _started("self"),
        }


def is_dead(process: Mapping[str, Any] | None) -> bool:
    """Return whether the identified process is known to be gone: it ran here, and does not run any more."""
    if not process:
        return False
    here = process_identity()
    if any(process.get(key) != here[key] for key in ("boot", "namespace")):
        return False
    try:
        return _started(process["pid"]) != process["started"]
    except (FileNotFoundError, ProcessLookupError):
        return not _exists(process["pid"])


def _exists(pid: int) -> bool:
    """Return whether there is a process ``pid``. /proc may hide the processes of other Unix users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _started(pid: int | str) -> int | None:
    with open(f"/proc/{pid}/stat") as stat:
        # Field 22 of proc(5), counted after the command, which may contain spaces and brackets.
        fields = stat.read().rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
