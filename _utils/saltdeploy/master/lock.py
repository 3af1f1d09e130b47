"""The deployment lock: one run at a time for an app in an environment.

A Consul session with a TTL holds it, a thread renews it, and every write of the record is made in a
transaction that is refused once it is lost: the lock itself is advisory, the writes are not.
"""

from __future__ import annotations

import os
import threading
import time

from ..core.errors import INTERRUPTS, DiscoveryUnavailable, Failed, LockLost, Refused
from ..discovery import ELECTION, patiently

# Consul frees an unrenewed session after one to two TTLs; less than 10 s it does not accept.
TTL = 15
LOCK_DELAY = 1.0
# How long a lock is tried for that nobody holds, or only processes that are gone, in seconds: a few lock delays.
ACQUIRE_DEADLINE = 10.0


class Lock:
    """Context manager that holds ``key`` in ``discovery``.

    :param info: who holds it and why, shown to whom it stops.
    :raises Refused: somebody else holds it.
    """

    def __init__(self, discovery, key, info):
        self.discovery, self.key = discovery, key
        self.info = {**info, "process": process_identity(), "since": time.time()}
        self.session = self._spare = None
        self._stop = threading.Event()
        # Why it is another's for good; and why it may be, until a renewal shows that it never was.
        self._lost = self._unsure = ""
        self._renewed = time.monotonic()
        self._leaderless = False
        self._keeping = threading.Lock()
        self._renewer = threading.Thread(target=self._renew, name="renew lock", daemon=True)

    def __enter__(self):
        self.session = self.discovery.create_session(f"deploy {self.key}", TTL)
        try:
            self._acquire()
        except BaseException:
            self.discovery.destroy_session(self.session)
            raise
        self._renewer.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        if self._leaderless:
            return  # it expires by itself
        try:
            self._renewer.join()
            self.discovery.release(self.key, self.session)
            self.discovery.destroy_session(self.session)
        except (Failed, *INTERRUPTS):
            pass  # it expires by itself

    def check(self):
        """Raise LockLost unless the lock is ours for sure. It asks: a run that was suspended cannot know."""
        self._keep()
        if self._lost or self._unsure:
            said = f"was lost ({self._lost})" if self._lost else f"may be lost ({self._unsure})"
            raise LockLost(f"the deployment lock {said}: another run may have it. Run again.")

    def write(self, entries, delete=()):
        """Write ``{key: value}`` and remove the keys ``delete``, fenced: LockLost if somebody else has the lock."""
        if not self._write(entries, delete):
            self.check()  # which may have got another session
            if not self._write(entries, delete):
                self._lost = "somebody else holds it"
                self.check()

    def _write(self, entries, delete):
        """Write; an election is waited out, once. Where no answer came it is read whether it was written, then."""
        patience, again = 0 if self._leaderless else ELECTION, False

        def write():
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

    def _is_written(self, entries, delete):
        """Return whether a write that nobody answered was done."""
        found = {key: self.discovery.read(key) for key in (*entries, *delete)}
        return all(found[key][0] == value for key, value in entries.items()) and not any(found[k][1] for k in delete)

    def _acquire(self):
        """Take the lock. What was read of it decides, so that an answer that was lost does no harm."""
        give_up = time.monotonic() + ACQUIRE_DEADLINE
        while True:
            holder, index, session = self.discovery.read(self.key)
            if session == self.session:
                return
            process = holder.get("process") if isinstance(holder, dict) else None
            if session and not is_dead(process):
                raise Refused(held(holder, {key: self.info.get(key) for key in ("app", "environment")}))
            if time.monotonic() > give_up:
                raise Refused(f"the deployment lock {self.key} cannot be had within {ACQUIRE_DEADLINE:g}s. Run again.")
            if session:
                self.discovery.destroy_session(session)
            if session or not self._try(self.session, index):
                time.sleep(LOCK_DELAY / 5)

    def _try(self, session, index):
        """Ask for the lock once. Where no answer comes, it is read next whether it is ours."""
        try:
            return self.discovery.acquire(self.key, session, self.info, index)
        except DiscoveryUnavailable:
            return False

    def _renew(self):
        while not self._lost and not self._stop.wait(TTL / 3):
            self._keep()

    def _keep(self):
        """Renew the session, or get another, and see whether the lock still is ours."""
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
                # By now it may have expired where we cannot see it, whatever keeps us from asking. No election takes
                # as long, and a session that answers later has lived all the time.
                if time.monotonic() - self._renewed > 2 * TTL:
                    self._unsure = f"not renewed for {2 * TTL}s: {exc}"

    def _again(self):
        """Take the lock with another session, if nobody had it since; return whether it is ours."""
        # One whose request had no answer may have it.
        if not (self._spare and self.discovery.renew_session(self._spare)):
            self._spare = self.discovery.create_session(f"deploy {self.key}", TTL)
        give_up = time.monotonic() + 3 * LOCK_DELAY
        while time.monotonic() < give_up:
            holder, index, locked = self.discovery.read(self.key)
            if locked == self._spare:
                self.session, self._spare = self._spare, None
                return True
            if locked or holder != self.info:
                break
            if not self._try(self._spare, index):
                time.sleep(LOCK_DELAY / 5)
        self.discovery.destroy_session(self._spare)
        self._spare = None
        return False


def held(holder, about=None):
    """Return the sentence for whom the lock stops.

    :param holder: what the lock's key holds, whatever somebody has written there.
    :param about: ``app`` and ``environment``, for where it does not say.
    """
    holder = {**(about or {}), **(holder if isinstance(holder, dict) else {})}
    since = holder.get("since")
    age = f" for {time.time() - since:.0f}s" if isinstance(since, (int, float)) else ""
    reason = f", reason: {holder['reason']}" if holder.get("reason") else ""
    return (
        f"{holder.get('app')} is being {holder.get('doing', 'deployed')} in {holder.get('environment')}"
        f" by {holder.get('owner', 'somebody')}{age} (deployment {holder.get('deployment', 'unknown')}{reason})."
        f" Wait for it. If that run is dead, the lock expires by itself within {2 * TTL}s,"
        f" or `salt-run deploy.unlock {holder.get('app')} force=True env={holder.get('environment')}`."
    )


def process_identity():
    """Return what identifies this process until the machine boots again: to see later that it is gone."""
    with open("/proc/sys/kernel/random/boot_id") as boot:
        return {
            "boot": boot.read().strip(),
            "namespace": os.readlink("/proc/self/ns/pid"),
            "pid": os.getpid(),
            "started": _started("self"),
        }


def is_dead(process):
    """Return whether the process identified is known to be gone: it ran right here, and does no more."""
    if not process:
        return False
    here = process_identity()
    if any(process.get(key) != here[key] for key in ("boot", "namespace")):
        return False
    try:
        return _started(process["pid"]) != process["started"]
    except (FileNotFoundError, ProcessLookupError):
        return not _exists(process["pid"])


def _exists(pid):
    """Return whether there is a process ``pid``; /proc may hide those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _started(pid):
    with open(f"/proc/{pid}/stat") as stat:
        # Field 22 of proc(5), counted after the command, which may hold spaces and brackets.
        fields = stat.read().rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
