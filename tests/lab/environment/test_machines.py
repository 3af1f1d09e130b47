"""What happens to machines, in the middle of a deployment.

In each: at no time fewer healthy instances published than the fault itself leaves, and none that was not
tested; an exit code that is the truth; and a next run that needs no repair.
"""

from __future__ import annotations

import os

import pytest

from lab import hosts
from tests.lab.environment.conftest import MASTER, NAME, WEBS, Watch
from tests.support.site import until

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

OLD, NEW = "1.0", "slow"
FAULTY = WEBS[1]
# All nodes in one wave, so that each phase is on all of them.
STRATEGY = {"waves": ["100%"], "min_healthy": "3s"}
PHASES = {
    "install": "install  web1, web2, web3",
    "start": "start    web1, web2, web3",
    "test": "start    web3: ",
    "publish": "healthy  web1, web2, web3",
    "retire": "retire   web1, web2, web3",
}


@pytest.fixture(autouse=True)
def settled(serving):
    """All is well before the test, and again after it: the next deployment succeeds."""
    serving.settle(OLD)
    serving.define(strategy=STRATEGY)
    yield
    for host in serving.lab.hosts():
        host.heal() if host.runs() else host.boot()
    serving.site.await_minions()
    until(lambda: serving.members() == 5, 60, "all Consul agents to be alive")
    serving.define(strategy={"waves": ["100%"]})
    assert "is published in site: 3 instances of 1.1 on web1, web2, web3" in serving.deploy(NAME, "1.1")
    assert serving.versions() == ["1.1"] * 3
    with serving.consul() as consul:
        assert consul.instances(f"{NAME}-candidate") == []


def truthful(serving, run, *codes):
    """Wait for the end of a run; what its exit code says must be so."""
    for _ in run._read(240):
        pass
    output = "".join(run.lines)
    code = run.process.wait()
    assert code in codes, output
    last = run.lines[-1] if run.lines[-1].strip() else run.lines[-2]
    said = {0: f"{NAME} {NEW} is published", 1: "all is as before", 2: "is NOT wholly reverted, look now"}
    assert said[code] in last, output
    if code == 0:
        until(lambda: serving.versions() == [NEW] * 3, 15, "what was said to be published to be so")
    if code == 1:
        until(lambda: set(serving.versions()) == {OLD}, 15, "what was said to be as before to be so")
    return output


@pytest.mark.parametrize("phase", PHASES)
def test_power_cut(serving, phase):
    """Of the three instances those of two machines remain."""
    tested = {"publish", "retire"}
    with Watch(serving, 2, {OLD, NEW} if phase in tested else {OLD}) as watch:
        run = serving.start(NAME, NEW).until(PHASES[phase])
        serving.host(FAULTY).kill()
        output = truthful(serving, run, 1, 2)
    assert f"{FAULTY}: does not answer" in output
    assert watch.wrong == [] and watch.looks
    assert len(serving.versions()) >= 2
    serving.host(FAULTY).boot()
    serving.site.await_minions([FAULTY])
    serving.highstate(FAULTY)


def test_the_agent_of_a_node_is_restarted(serving):
    """Its instance is not found until its first check passes; the others are."""
    with Watch(serving, 2, {OLD, NEW}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["publish"])
        serving.host(FAULTY).run("systemctl", "restart", "consul")
        truthful(serving, run, 0, 1, 2)
    assert watch.wrong == [] and watch.looks


def test_the_network_between_master_and_a_node_is_cut(serving):
    """Users do not need the master: all three instances are found all the time."""
    with Watch(serving, 3, {OLD}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["start"])
        serving.host(FAULTY).cut(MASTER)
        output = truthful(serving, run, 2)
    assert f"{FAULTY}: does not answer" in output
    assert watch.wrong == [] and watch.looks
    assert serving.versions() == [OLD] * 3


def test_the_network_between_a_node_and_the_servers_is_cut(serving):
    with Watch(serving, 2, {OLD}) as watch:
        run = serving.start(NAME, NEW).until(PHASES["start"])
        serving.host(FAULTY).cut(WEBS[0], WEBS[2])
        truthful(serving, run, 1, 2)
    assert watch.wrong == [] and watch.looks
    assert len(serving.versions()) >= 2
