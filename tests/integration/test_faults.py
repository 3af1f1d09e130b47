"""Faults while deploying: users never notice, the exit code is the truth, and the next good run succeeds."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests
from saltdeploy.core import records
from saltdeploy.master import lock

from tests.support.site import kill, until
from tests.support.target import NAME


@pytest.fixture(autouse=True)
def users(target, agents, minions):
    """Users during the test, and during the next good run, which needs no repair. None of their requests fails."""
    target.define()
    if target.traces().versions != [target.old] * 3:
        target.deploy(target.old)
    with target.users() as users:
        yield users
        target.end()
        target.define(strategy={"waves": ["100%"]})
        target.deploy(target.new)
        assert users.wait_for(target.new, 10)
    after = target.traces()
    assert after.versions == [target.new] * 3 and after.clean
    assert users.failures == []
    target.old, target.new = target.new, target.old


@pytest.fixture(scope="module", autouse=True)
def interruptible():
    """Have signals interrupt what is started here, also where the tests run in the background (nohup, CI)."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.getsignal(n) for n in numbers}
    for number in numbers:
        if before[number] is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # which a new program does not inherit
    yield
    for number in numbers:
        signal.signal(number, before[number])


def started(target, node, version):
    """Wait until an instance of ``version`` is being started on ``node``."""
    until(
        lambda: any(n == node and f"_{version}_" in i for n, i in target.traces().folders),
        30,
        f"an instance of {version} on {node}",
    )


def says(output, *words):
    assert [word for word in words if word not in output] == [], output


# -- what a release does ----------------------------------------------------------------------


def test_the_second_wave_fails_when_the_first_has_retired(target):
    """What was retired is brought back: the same instances at the same addresses."""
    before = target.traces()
    target.archives.make("half")
    target.define(app={"tests": [{"command": "test {node} != web3"}]})
    run = target.start("half").until("retire   web1:")
    output = run.end(1)
    says(output, "start on web3: shop_half_", "restore  web1: ", "all is as before (3 instances of")
    assert target.traces() == before


def test_what_was_retired_cannot_be_brought_back(target, agents, users):
    """A fault on top of the fault: the new instance goes on serving in place of the old, and the code says look."""
    before = target.traces()
    port = before.published[next(i for i in before.published if i[0] == "web1")][1]
    target.archives.make("stuck")
    target.define(app={"tests": [{"command": "test {node} != web3", "timeout": "5s"}]})
    run = target.start("stuck").until("retire   web1:")
    with socket.socket() as foreign:
        foreign.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        foreign.bind((agents.nodes["web1"], port))
        foreign.listen()
        output = run.end(2)
    says(
        output,
        "could not be reverted completely, look now",
        f"port {port} is not free on web1",
        "the new instances stay published",
    )
    assert sorted(target.traces().versions) == sorted(["stuck", target.old, target.old])
    assert users.wait_for("stuck", 10)


def test_a_node_that_may_fail_keeps_what_it_has(target):
    before = target.traces()
    target.archives.make("partly")
    target.define(app={"tests": [{"command": "test {node} != web3"}]}, strategy={"max_failures": 1})
    output = target.deploy("partly", code=2)
    says(output, "going on without web3", "published in site, but for nodes that failed", "start on web3: shop_partly_")
    after = target.traces()
    assert after.versions == sorted([target.old, "partly", "partly"]) and after.clean
    assert [i for i in after.published if i[0] == "web3"] == [i for i in before.published if i[0] == "web3"]
    assert {node: len(ids) for node, ids in after.record["nodes"].items()} == {"web1": 1, "web2": 1, "web3": 1}


def test_without_auto_revert(target):
    before = target.traces()
    target.archives.make("sick", **{"status/selftest": 500})
    target.define(strategy={"auto_revert": False})
    output = target.deploy("sick", code=2)
    says(output, "auto_revert is off, so the new instances stay as they are", "status 500, expected 200")
    after = target.traces()
    assert after.published == before.published and after.record == before.record
    assert {i for _, i in after.folders - before.folders} and not after.candidates and not after.locked


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_disk(target, agents):
    before = target.traces()
    disk = agents.folder / "web2" / "srv" / NAME / "releases"
    target.archives.make("big")
    target.define()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "full", disk], check=True)
    try:
        (disk / "log").write_bytes(bytes(8 << 10))
        refused = target.run("check", "version=big", code=3)
        output = target.deploy("big", code=1)
        assert [p.name for p in disk.iterdir()] == ["log"]
    finally:
        subprocess.run(["umount", disk], check=True)
    told = f"{NAME} big cannot be installed on web2: no room in {disk}: "
    says(refused, told, " are needed, ", " and 0 B are free")
    says(output, "install on web2: ", told, "all is as before")
    assert target.traces() == before


# -- who runs it ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough), signal.SIGHUP],
    ids=lambda number: number.name,
)
def test_interrupted(target, number):
    """Also after the first wave: it reverts, whoever ends it."""
    before = target.traces()
    run = target.start("slow").until("start    web2, web3")
    started(target, "web3", "slow")
    output = run.send(number).end(1)
    says(output, "all is as before (3 instances of", "it was interrupted", "restore  web1: ")
    until(lambda: not target.traces().candidates, 10, "the catalog to be without the candidates")
    assert target.traces() == before


def test_interrupted_before_it_began(target):
    before = target.traces()
    run = target.start(target.new)
    until(lambda: handles(run.process.pid, signal.SIGHUP), 30, "the runner to begin")
    says(run.send(signal.SIGTERM).end(3), "interrupted, nothing was changed")
    assert target.traces() == before


def handles(pid, number):
    """Return whether process ``pid`` has a handler of its own for signal ``number``."""
    [caught] = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigCgt" in line]
    return int(caught, 16) >> number - 1 & 1


def test_nobody_reads_its_output(target):
    """A pipe that breaks (`| head -1`) stops no deployment."""
    run = target.start(target.new).until("start    web1 ")
    run.process.stdout.close()
    run.process.wait(60)
    assert target.traces().versions == [target.new] * 3


@pytest.mark.thorough
def test_two_at_once(target):
    first = target.start("slow", "reason=the first").until("start    web1 ")
    output = target.deploy(target.new, code=3)
    says(output, "refused, nothing was changed: shop is being deployed in site by ", "reason: the first", "Wait for it")
    says(target.cli.deploy("unlock", NAME)[1], "reason: the first")
    first.end(0)
    assert target.traces().versions == ["slow"] * 3


@pytest.mark.thorough
@pytest.mark.skydns
def test_killed(target):
    """The next run takes the dead one's lock at once, cleans up and goes on: test_crashes.py has all the moments."""
    run = target.start("slow").until("start    web1:")
    run.send(signal.SIGKILL).end(-signal.SIGKILL)
    left = target.traces()
    assert left.locked and len(left.published) == 3
    [(node, instance)] = left.candidates
    assert expires(target, node, instance)
    began = time.monotonic()
    run = target.start("slow").until("stop instances that serve nobody: shop_slow_")
    assert time.monotonic() - began < lock.TTL
    says(run.end(0), "shop slow is published in site: 3 instances")
    after = target.traces()
    assert after.versions == ["slow"] * 3 and after.clean


def expires(target, node, instance):
    """Return whether a candidate leaves discovery by itself."""
    checks = requests.get(f"{target.agents.url(node)}/v1/agent/checks", timeout=10).json().values()
    return [c for c in checks if c["ServiceID"] == instance and c["Name"] == "expires" and c["Type"] == "ttl"]


def test_killed_while_a_client_is_being_served(target):
    """What the dead run was draining, the next run drains too."""
    target.archives.make("busy", **{"delay/report": 6})
    target.define(strategy={"drain": "15s", "waves": ["100%"]})
    target.deploy("busy")
    (address, port, _) = target.traces().published[min(target.traces().published)]
    answers = []

    def client():
        connection = http.client.HTTPConnection(address, port, timeout=30)
        connection.request("GET", "/report")
        answers.append(connection.getresponse().read())

    thread = threading.Thread(target=client)
    run = target.start(target.new).until("retire   web1, web2, web3")
    thread.start()
    until(lambda: len(target.traces().published) == 3, 20, "the old ones to be withdrawn")
    run.send(signal.SIGKILL).end(-signal.SIGKILL)
    target.deploy(target.new)
    thread.join()
    assert answers == [b"release busy"]


@pytest.mark.skydns
def test_suspended_until_another_run_took_over(target):
    """Ctrl-Z and, much later, fg: it finds that it lost the lock, and changes nothing any more."""
    run = target.start("slow").until("start    web2, web3")
    started(target, "web3", "slow")
    run.send(signal.SIGSTOP)
    code, output = target.cli.deploy("unlock", NAME, "force=True")
    assert code == 0, output
    target.deploy(target.new)
    between = target.traces()
    output = run.send(signal.SIGCONT).end(2)
    says(output, "the deployment lock was lost", "look now")
    assert target.traces() == between
    assert between.versions == [target.new] * 3


@pytest.mark.thorough
def test_the_lock_of_a_run_that_died_elsewhere(target, agents):
    """Nobody here can know that it is dead: it is refused until its session expires."""
    with agents.backend() as consul:
        session = consul.create_session("dead", lock.TTL)
        process = {**lock.process_identity(), "boot": "another machine's"}
        info = {"app": NAME, "environment": "site", "owner": "ann@elsewhere", "since": time.time(), "process": process}
        key = records.lock_key(records.prefix("site", NAME))
        assert consul.acquire(key, session, info, consul.read(key)[1])
        began = time.monotonic()
        says(target.deploy(target.new, code=3), "by ann@elsewhere", f"expires by itself within {2 * lock.TTL}s")
        until(lambda: not target.traces().locked, 2 * lock.TTL + 5, "the lock to expire")
        assert time.monotonic() - began < 2 * lock.TTL + 3
    target.deploy(target.new)


# -- what it runs on --------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_minion_is_killed(target, minions, impatient):
    before = target.traces()
    run = target.start("slow", cli=impatient).until("start    web2, web3")
    started(target, "web3", "slow")
    kill(minions["web3"].pid)
    try:
        output = run.end(2)
        says(
            output, "start on web3: does not answer: is its salt-minion running?", "restore  web1: ", "stop     web2: "
        )
        says(output, "could not be reverted completely, look now", "stop on web3: does not answer")
        after = target.traces()
        assert (after.published, after.record["nodes"], after.locked) == (
            before.published,
            before.record["nodes"],
            False,
        )
        assert {node for node, _ in after.folders - before.folders} == {"web3"} and not after.candidates

        output = target.deploy(target.new, code=3, cli=impatient)
        says(
            output,
            "web3: does not answer: is its salt-minion running? Start it there, or leave it out: nodes=web1,web2",
        )
        output = target.deploy(target.new, "nodes=web1,web2", "instances=2", cli=impatient)
        says(output, "warning: web3 does not answer", f"2 instances of {target.new}", "on web1, web2, web3")
    finally:
        minions["web3"].terminate()
        minions["web3"].start()


@pytest.mark.skydns
def test_an_agent_dies(target, agents):
    before = target.traces()
    # It may be the leader: then the way back waits for another one to be elected, as below.
    target.define(strategy={"healthy_deadline": "40s"})
    run = target.start("slow").until("start    web2, web3")
    started(target, "web2", "slow")
    agents.stop_agent("web2")
    try:
        output = run.end(2)
        says(
            output,
            f"start on web2: {agents.speaks} does not answer ({agents.url('web2')}: connection refused)",
            "look now",
        )
        after = target.traces()
        assert without("web2", after.published) == without("web2", before.published)
        assert not after.candidates and not after.locked
        output = target.deploy(target.new, code=3)
        says(
            output,
            f"refused, nothing was changed: web2: {agents.speaks} does not answer ({agents.url('web2')}",
        )
    finally:
        agents.start_agent("web2")
        agents.await_leader()
    until(lambda: target.traces().published == before.published, 20, "all the old instances to be back")


def without(node, published):
    return {i: where for i, where in published.items() if i[0] != node}


def test_consul_loses_its_leader(target, agents):
    """Nothing can be written, so nobody is told of it later; what was started is stopped nevertheless."""
    before = target.traces()
    target.archives.make("slow-and-sick", **{"delay/selftest": 1.5, "status/selftest": 500})
    target.define()
    run = target.start("slow-and-sick").until("start    web1 ")
    started(target, "web1", "slow-and-sick")
    agents.stop_agent("web2", "web3")
    try:
        output = run.end(1)
        says(output, "status 500, expected 200", "all is as before", "history of this run could not be written")
        output = target.deploy(target.new, code=3)
        says(output, "refused, nothing was changed: Consul has no leader", "ore than half of its servers must run")
    finally:
        agents.start_agent("web2")
        agents.start_agent("web3")
        agents.await_leader()
    until(lambda: target.traces() == before, 2 * lock.TTL + 5, "all to be as before")


@pytest.mark.skydns
def test_consul_elects_another_leader(target, agents):
    """That takes seconds, in which nothing can be written: it is waited out."""
    with agents.backend() as backend:
        leader = backend.leader().removeprefix("http://").partition(":")[0]
    [gone] = [node for node, address in agents.nodes.items() if address == leader]
    others = ",".join(node for node in agents.nodes if node != gone)
    # An election may take longer than anything else here: up to 13.5 s, and longer on a busy machine.
    target.define(strategy={"healthy_deadline": "40s"})
    run = target.start("slow", f"nodes={others}", "instances=2").until("publish  ")
    agents.stop_agent(gone)
    try:
        run.end(0)
        assert target.traces().versions.count("slow") == 2
    finally:
        agents.start_agent(gone)
        agents.await_leader()
