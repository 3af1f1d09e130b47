"""What happens to machines, in the middle of a deployment.

In each: at no time fewer healthy instances published than the fault itself leaves, and none that was not
tested; an exit code that is the truth; and a next run that needs no repair.
"""

from __future__ import annotations

import os
import shutil
import time

import pytest
from saltdeploy.master.lock import TTL

from lab import hosts
from tests.lab.environment.conftest import MASTER, NAME, WEBS, Watch, main_pid
from tests.support.site import until
from tooling import ToolError

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

NEW = "slow"
FAULTY = WEBS[1]
# So long an instance starts, and so long, at most, an agent that is back takes to send its results, in seconds: measured
# with Consul 1.8.7, see docs/howto/operating.rst.
SLOW, SYNC = 40, 5
# All nodes in one wave, so that each phase is on all of them.
STRATEGY = {"waves": ["100%"], "min_healthy_time": "3s", "healthy_deadline": "20s"}
# No user is there to wait for.
REPAIR = {"waves": ["100%"], "min_healthy_time": "0s", "deregister_delay": "0s"}
PHASES = {
    "start": "start    web1, web2, web3",
    "publish": "healthy  web1, web2, web3",
    "retire": "retire   web1, web2, web3",
}


@pytest.fixture
def old(serving):
    """The release that all run before the test. After it all is well again: the next deployment, of another, succeeds."""
    old = serving.settle("1.0", "1.1")
    serving.define(strategy=STRATEGY)
    yield old
    for host in serving.lab.hosts():
        host.heal() if host.runs() else host.boot()
    serving.site.await_minions()
    until(lambda: serving.members() == 5, 60, "all Consul agents to be alive")
    serving.define(strategy=REPAIR)
    other = {"1.0": "1.1", "1.1": "1.0"}[old]
    serving.deploy(NAME, other)
    found = serving.published()
    assert sorted((node, version) for (node, _), version in found.items()) == [(web, other) for web in WEBS]
    with serving.consul() as consul:
        assert consul.instances(f"{NAME}-candidate") == []


def truthful(serving, run, old, *codes):
    """Wait for the end of a run; what its exit code says must be so.

    :param old: the release that was published before.
    """
    for _ in run._read(240):
        pass
    output = "".join(run.lines)
    code = run.process.wait()
    assert code in codes, output
    last = run.lines[-1] if run.lines[-1].strip() else run.lines[-2]
    said = {0: f"{NAME} {NEW} is published", 1: "all is as before", 2: "look now"}
    assert said[code] in last.replace("Look now", "look now"), output
    if code == 0:
        until(lambda: serving.versions() == [NEW] * 3, 15, "what was said to be published to be so")
    if code == 1:
        until(lambda: set(serving.versions()) == {old}, 15, "what was said to be as before to be so")
    return output


@pytest.mark.parametrize(
    "phase", ["retire", *(pytest.param(phase, marks=pytest.mark.thorough) for phase in ("start", "publish"))]
)
def test_power_cut(serving, old, phase):
    """Of the three instances those of two machines remain."""
    tested = {"publish", "retire"}
    with Watch(serving, 2, {old, NEW} if phase in tested else {old}) as watch:
        run = serving.start(NAME, NEW).until(PHASES[phase])
        serving.host(FAULTY).kill()
        output = truthful(serving, run, old, 1, 2)
    assert f"{FAULTY}: does not answer" in output
    assert watch.wrong == [] and watch.looks
    assert len(serving.versions()) >= 2
    serving.host(FAULTY).boot()
    serving.site.await_minions([FAULTY])
    serving.highstate(FAULTY)


@pytest.mark.thorough
def test_a_slow_instance_is_found_once_it_answers_after_a_power_cut(serving, old):
    """Consul's servers tell the last results of before the cut until the agent is back and has sent its own."""
    host = serving.host(FAULTY)
    [instance] = [instance for node, instance in serving.published() if node == FAULTY]
    [unit] = host.run("systemctl", "list-units", "--plain", "--no-legend", f"app-{NAME}_*").split()[:1]
    drop_in = host.root / "etc/systemd/system" / f"{unit}.d"
    drop_in.mkdir()
    (drop_in / "slow.conf").write_text(f"[Service]\nExecStartPre=/bin/sleep {SLOW}\n")

    def found():
        return (FAULTY, instance) in serving.published()

    def starts():
        try:
            return host.attempt("systemctl", "is-active", unit)[1].strip() == "activating"
        except ToolError:  # its init is not there yet
            return False

    try:
        host.kill()
        until(lambda: not found(), 60, "Consul to notice that the node is away")
        host.start()
        until(starts, 60, "its instance to be started")
        until(lambda: serving.members() == 5, SLOW - 2 * SYNC, "all Consul agents to be alive")
        time.sleep(SYNC)
        looks = 0
        while starts():
            assert not found() or not starts()
            looks += 1
        assert looks > 1
        until(found, 60, "Consul to find it healthy")
    finally:
        shutil.rmtree(drop_in)
        host.run("systemctl", "daemon-reload")


@pytest.mark.thorough
def test_the_agent_of_a_node_is_restarted(serving, old):
    """Its instance is not found until its first check passes; the others are."""
    with Watch(serving, 2, {old, NEW}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["publish"])
        serving.host(FAULTY).run("systemctl", "restart", "consul")
        truthful(serving, run, old, 0, 1, 2)
    assert watch.wrong == [] and watch.looks


def test_the_network_between_master_and_a_node_is_cut(serving, old):
    """Users do not need the master: all three instances are found all the time."""
    with Watch(serving, 3, {old}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["start"])
        serving.host(FAULTY).cut(MASTER)
        output = truthful(serving, run, old, 2)
    assert f"{FAULTY}: does not answer" in output
    assert watch.wrong == [] and watch.looks
    assert serving.versions() == [old] * 3


@pytest.mark.thorough
def test_the_network_between_a_node_and_the_servers_is_cut(serving, old):
    with Watch(serving, 2, {old}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["start"])
        serving.host(FAULTY).cut(WEBS[0], WEBS[2])
        truthful(serving, run, old, 1, 2)
    assert watch.wrong == [] and watch.looks
    assert len(serving.versions()) >= 2


@pytest.mark.thorough
def test_the_leader_of_consul_is_killed(serving, old):
    """Where it ran, systemd starts it again; an election takes some seconds, which users do not notice."""
    with serving.consul() as consul:
        address = consul.leader().partition(":")[0]
    [leader] = [name for name, known in serving.lab.facts["addresses"].items() if known == address]
    with Watch(serving, 2, {old, NEW}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["publish"])
        serving.host(leader).run("kill", "-KILL", main_pid(serving.host(leader), "consul"))
        truthful(serving, run, old, 0, 1, 2)
    assert watch.wrong == [] and watch.looks


def test_the_master_is_rebooted(serving, old):
    """The run ends with it, and says nothing more; no instance is lost, and its lock expires by itself."""
    with Watch(serving, 3, {old, NEW}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["publish"])
        serving.site.master.reboot()
        assert run.process.wait(60) != 0
        until(lambda: "is being deployed" not in serving.cli.deploy("status", NAME)[1], 2 * TTL + 5, "the lock to go")
    assert watch.wrong == [] and watch.looks
    serving.site.await_minions()
    serving.deploy(NAME, old)
    assert serving.versions() == [old] * 3
