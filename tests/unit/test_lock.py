"""Whose lock it is: a process that is gone is known to be gone, any other is not."""

import json
import os
import subprocess
import sys
import time

import pytest
from saltdeploy import lock
from saltdeploy.lock import held, is_dead, process_identity

TELL = "import json, sys; from saltdeploy.lock import process_identity as p; print(json.dumps(p()), flush=True)"


@pytest.fixture
def process():
    """A process with a name that is hard to read in /proc, which told its identity and waits."""
    program = f"open('/proc/self/comm', 'w').write('a) S (b'); {TELL}; sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, text=True, **pipes) as process:
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
    assert "`salt-run deploy.unlock shop force=True`" in sentence


def test_held_without_a_reason():
    assert "(deployment d1). " in held({"app": "shop", "deployment": "d1", "since": time.time()})


def test_held_says_what_is_being_done():
    assert held({"app": "shop", "environment": "test", "doing": "restarted"}).startswith(
        "shop is being restarted in test"
    )
