"""Whose lock it is: a process that is gone is known to be gone, any other is not; and whose it may be by now."""

import json
import os
import subprocess
import sys
import time

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, LockLost, Refused
from saltdeploy.master import lock
from saltdeploy.master.lock import TTL, Lock, held, is_dead, process_identity

TELL = "import json, sys; from saltdeploy.master.lock import process_identity as p; print(json.dumps(p()), flush=True)"


@pytest.fixture
def process():
    """A process with a name that is hard to read in /proc, which told its identity and waits."""
    program = f"open('/proc/self/comm', 'w').write('a) S (b'); {TELL}; sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-B", "-c", program], env=environment, text=True, **pipes) as process:
        yield process, json.loads(process.stdout.readline())
        process.kill()


def test_the_living_are_not_dead(process):
    _, identity = process
    assert not is_dead(identity)
    assert not is_dead(process_identity())


def test_the_dead_are_dead_as_zombies_and_when_they_are_gone(process):
    dying, identity = process
    dying.kill()
    os.waitid(os.P_PID, dying.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(identity)
    dying.wait()
    assert is_dead(identity)


def test_an_identity_is_that_of_the_process_itself(process):
    told, identity = process
    assert identity["pid"] == told.pid
    assert identity["boot"] == process_identity()["boot"]
    ticks = float(open("/proc/uptime").read().split()[0]) * os.sysconf("SC_CLK_TCK")
    assert 0 <= ticks - identity["started"] < 60 * os.sysconf("SC_CLK_TCK")


def test_who_has_the_pid_now_is_somebody_else():
    mine = process_identity()
    assert is_dead({**mine, "started": mine["started"] - 1})


@pytest.mark.parametrize("key", ["boot", "namespace"])
def test_of_a_process_elsewhere_nothing_is_known(process, key):
    dead, identity = process
    dead.kill()
    dead.wait()
    assert is_dead(identity)
    assert not is_dead({**identity, key: "elsewhere"})


@pytest.mark.parametrize("nothing", [None, {}])
def test_without_an_identity_nothing_is_known(nothing):
    assert not is_dead(nothing)


def test_held_says_who_why_since_when_and_what_to_do():
    holder = {"app": "shop", "environment": "test", "owner": "ann@salt", "deployment": "d1", "reason": "hotfix"}
    sentence = held({**holder, "since": time.time() - 61})
    assert sentence.startswith("shop is being deployed in test by ann@salt for 61s (deployment d1, reason: hotfix). ")
    assert f"within {2 * lock.TTL}s" in sentence
    assert "`salt-run deploy.unlock shop force=True env=test`" in sentence


def test_held_without_a_reason():
    assert "(deployment d1). " in held({"app": "shop", "deployment": "d1", "since": time.time()})


def test_held_says_what_is_being_done():
    assert held({"app": "shop", "environment": "test", "doing": "restarted"}).startswith(
        "shop is being restarted in test"
    )


class Consul:
    """A clock, and a Consul with one lock that expires by that clock; nobody may be able to reach it.

    :param cut_off: what whoever asks gets for an answer, None: an answer; ``takes``: how long that takes, in seconds.
    :param unanswered: how many changes are done that nobody gets an answer of.
    """

    def __init__(self):
        self.now, self.takes, self.cut_off, self.sessions, self.holder = 1000.0, 0.0, None, {}, None
        self.value, self.index, self.unanswered, self.writes, self.keys = None, 0, 0, 0, {}

    def monotonic(self):
        return self.now

    time = monotonic

    def sleep(self, seconds):
        self.now += seconds

    def _answer(self, value):
        self.now += self.takes
        if self.cut_off:
            raise self.cut_off
        return value

    def create_session(self, name, ttl):
        session = self._answer(f"session {len(self.sessions)}")
        self.sessions[session] = True
        return session

    def renew_session(self, session):
        return self._answer(self.sessions[session])

    def destroy_session(self, session):
        self.expire(self._answer(session))

    def expire(self, session):
        self.sessions[session] = False
        self.holder = None if self.holder == session else self.holder

    def _done(self, value):
        if self.unanswered:
            self.unanswered -= 1
            raise DiscoveryUnavailable("the connection broke")
        return value

    def acquire(self, key, session, value, index):
        self._answer(None)
        done = self.holder is None and self.sessions[session] and index == self.index
        if done:
            self.holder, self.value = session, value
            self.index += 1
        return self._done(done)

    def read(self, key):
        if key in self.keys:
            return self._answer((self.keys[key], 1, None))
        return self._answer((self.value, self.index, self.holder) if key == "lock" else (None, 0, None))

    def write(self, entries, lock_key, session, delete):
        self._answer(None)
        if self.holder != session:
            return False
        self.writes += 1
        self.keys.update(entries)
        return self._done(True)

    def release(self, key, session):
        self.expire(self._answer(session))


@pytest.fixture
def consul(monkeypatch):
    consul = Consul()
    monkeypatch.setattr(lock, "time", consul)
    return consul


@pytest.fixture
def mine(consul):
    """A lock that is held, and renewed only where somebody asks for it."""
    with Lock(consul, "lock", {"app": "shop"}) as mine:
        mine._stop.set()
        mine._renewer.join()
        yield mine


def test_a_lock_that_was_taken_without_an_answer_is_ours(consul):
    consul.unanswered = 1
    with Lock(consul, "lock", {"app": "shop"}) as lock:
        assert consul.holder == lock.session
        lock.check()


def test_an_interrupt_while_its_thread_starts_leaves_no_lock(consul, monkeypatch):
    mine = Lock(consul, "lock", {"app": "shop"})
    start = mine._renewer.start

    def interrupted():
        start()
        raise KeyboardInterrupt

    monkeypatch.setattr(mine._renewer, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mine.__enter__()
    mine._renewer.join(10)
    assert not mine._renewer.is_alive()
    assert consul.holder is None and not any(consul.sessions.values())


def test_a_write_that_nobody_answered_is_read_before_it_is_sent_again(consul, mine, monkeypatch):
    monkeypatch.setattr("saltdeploy.discovery.time", consul)
    consul.unanswered = 1
    mine.write({"current": {"version": "1.0"}})
    assert (consul.writes, consul.keys) == (1, {"current": {"version": "1.0"}})


def test_processes_that_are_gone_do_not_keep_a_run_for_ever(consul):
    """Their sessions come back each time, and the lock with them."""
    dead = {**process_identity(), "started": -1}
    consul.holder, consul.value, consul.expire = "theirs", {"process": dead}, lambda session: None
    with pytest.raises(Refused, match="cannot be had within 10s"):
        Lock(consul, "lock", {"app": "shop"}).__enter__()


def test_whatever_the_key_of_a_lock_holds_it_stops_who_comes(consul):
    consul.holder, consul.value = "theirs", "junk"
    with pytest.raises(Refused, match="shop is being deployed in test by somebody"):
        Lock(consul, "lock", {"app": "shop", "environment": "test"}).__enter__()


@pytest.mark.parametrize("fault", [DiscoveryUnavailable("no leader"), Failed("Permission denied")])
def test_what_could_not_be_renewed_for_as_long_as_it_may_live_may_be_lost(consul, mine, fault):
    """…and is not, if it turns out that it has lived all the time."""
    consul.cut_off = fault
    consul.sleep(2 * TTL)
    mine.check()
    consul.sleep(1)
    for _ in range(2):
        with pytest.raises(LockLost, match=rf"may be lost \(not renewed for 30s: {fault}\): another run may have it"):
            mine.check()
    consul.cut_off = None
    mine.check()
    consul.cut_off = fault
    consul.sleep(2 * TTL)
    mine.check()


def test_an_election_is_not_long_enough(consul, mine):
    """It is asked every TTL / 3, which takes as long as an agent waits for a leader."""
    consul.cut_off, consul.takes = DiscoveryUnavailable("no leader"), 7.0
    until = consul.now + lock.ELECTION
    while consul.now < until:
        consul.sleep(TTL / 3)
        mine.check()


def test_a_renewal_counts_from_when_it_was_asked_for(consul, mine):
    """The answer may have been on its way for long."""
    consul.takes = 20.0
    mine.check()
    consul.takes, consul.cut_off = 0.0, DiscoveryUnavailable("timed out")
    consul.sleep(2 * TTL - 20)
    mine.check()
    consul.sleep(1)
    with pytest.raises(LockLost, match="may be lost"):
        mine.check()


def expires_unseen(consul, mine):
    """Have the session expire while Consul does not answer."""
    consul.cut_off = DiscoveryUnavailable("timed out")
    consul.sleep(2 * TTL + 1)
    with pytest.raises(LockLost, match="may be lost"):
        mine.check()
    consul.expire(mine.session)
    consul.cut_off = None


def test_a_session_that_expired_is_another_one_where_nobody_has_had_the_lock(consul, mine):
    """…and what may have been lost, was not."""
    expires_unseen(consul, mine)
    mine.check()
    assert consul.holder == mine.session == "session 1"


def test_another_session_whose_request_had_no_answer_has_the_lock(consul, mine):
    expires_unseen(consul, mine)
    consul.unanswered = 1
    mine.check()
    assert consul.holder == mine.session == "session 1"


def test_what_another_one_has_taken_is_lost_for_good(consul, mine):
    expires_unseen(consul, mine)
    other = Lock(consul, "lock", {"app": "shop", "owner": "ann"})
    with other:
        with pytest.raises(LockLost, match=r"was lost \(its session expired\)"):
            mine.check()
        mine.session = other.session  # which can be renewed
        with pytest.raises(LockLost, match=r"was lost \(its session expired\)"):
            mine.check()


def test_a_run_may_wait_for_another(consul, monkeypatch):
    consul.holder, consul.value, told = "theirs", {"owner": "ann"}, []
    about = {"app": "shop", "environment": "test"}
    began = consul.now
    with pytest.raises(Refused, match="shop is being deployed in test by ann"):
        Lock(consul, "lock", about, 60.0, told.append).__enter__()
    assert consul.now - began == pytest.approx(60.0, abs=2) and len(told) == 1 and "by ann" in told[0]
    # It comes to its end meanwhile.
    sleep = consul.sleep

    def ends(seconds):
        sleep(seconds)
        if consul.now > began + 100:
            consul.holder = None

    monkeypatch.setattr(consul, "sleep", ends)
    with Lock(consul, "lock", about, 300.0, told.append) as mine:
        assert consul.holder == mine.session
        mine.check()
    assert len(told) == 2 and sum(consul.sessions.values()) == 0


def test_a_run_that_does_not_wait_is_refused_at_once(consul):
    consul.holder, consul.value, began = "theirs", {"owner": "ann"}, consul.now
    with pytest.raises(Refused):
        Lock(consul, "lock", {"app": "shop"}, on_wait=lambda text: pytest.fail("it waits")).__enter__()
    assert consul.now - began < 2
