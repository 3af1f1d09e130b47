"""Blue-green: users get the whole new set at once, and the old one back, which has run on all the time."""

from __future__ import annotations

import contextlib
import time

import psutil
import pytest

from tests.support.site import until
from tests.support.target import NAME, PORTS

pytestmark = pytest.mark.usefixtures("users")


def define(target, warm):
    """The environment's waves, which are for other apps, do not matter here."""
    checks = [{"http": "/health", "interval": "1s", "timeout": "1s"}]
    target.define({"checks": checks, "strategy": {"type": "blue_green", "keep_old": warm}})


def processes(published):
    """Return the process of each of the instances ``published``, as Traces have them."""
    pids = {
        tuple(c.laddr): c.pid
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and PORTS[0] <= c.laddr.port <= PORTS[1]
    }
    return {key: pids[address, port] for key, (address, port, _) in published.items()}


def warm(target):
    """Return the ids of what waits unpublished, and is healthy."""
    return {(node, i.removesuffix("_candidate")) for node, i in target.agents.passing(f"{NAME}-candidate")}


@contextlib.contextmanager
def stopped(pid):
    """Have a process answer nobody."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def cooled(target):
    """Wait until what is warm is to be so no longer, and prune it; return what that said."""
    until(lambda: time.time() > target.traces().record["warm"]["until"], 10, "the time of what is warm to be over")
    return target.run("prune")


def test_the_old_set_runs_on_and_is_published_again_as_it_is(target, releases):
    before, new = releases
    define(target, "1h")
    old = target.traces().published
    pids = processes(old)
    output = target.deploy(new)
    assert f"wave 1: withdraw {NAME}_{before}_" in output and f"{NAME} {before} runs on, warm, until" in output
    flipped = target.traces()
    assert flipped.versions == [new] * 3 and not set(flipped.published) & set(old)
    assert warm(target) == set(old) and processes(old) == pids
    assert {(node, i) for node, ids in flipped.record["warm"]["nodes"].items() for i in ids} == set(old)

    output = target.run("status")
    again = f"deploy.rollback {NAME} version=\"'{before}'\" env=site publishes it at once"
    assert output.count(" warm ") == 3 and again in output
    # Neither the same again nor a highstate ends it early, and nobody takes it for candidates of publish=False.
    assert "nothing was done" in target.deploy(new)
    code, output = target.cli.run("salt", "*", "state.apply")
    assert code == 0 and "Changes:   \n  " not in output, output
    assert "no candidate waits" in target.run("abort", code=3)
    assert target.traces() == flipped and processes(old) == pids

    node, instance = key = min(old)
    with stopped(pids[key]):
        until(lambda: key not in warm(target), 30, "Consul to see that it is not healthy")
        output = target.run("rollback", code=1)
        assert f"kept warm, and not healthy in discovery: {instance} on {node}" in output
        assert target.traces().published == flipped.published
    until(lambda: key in warm(target), 30, "Consul to see that it is healthy")

    define(target, "1s")
    new_pids = processes(flipped.published)
    output = target.run("rollback")
    assert f"{NAME} {before} is published in site" in output
    assert "start " not in output and "install " not in output
    back = target.traces()
    assert back.published == old and processes(old) == pids
    assert warm(target) == set(flipped.published) and processes(flipped.published) == new_pids

    assert f"retired {NAME}_{new}_" in cooled(target)
    assert target.traces().clean and target.traces().published == old and "warm" not in target.traces().record


@pytest.mark.parametrize("step", ["one of discovery.publish", "one of discovery.withdraw"])
def test_a_run_that_is_killed_while_it_flips_does_so_when_it_is_run_again(target, releases, step):
    before, new = releases
    define(target, "1h")
    old = target.traces().published
    steps, killed = target.killed(new, step)
    assert killed and steps[-1] == step
    served = target.traces().versions
    assert served.count(new) == 3 or served.count(before) == 3
    target.deploy(new)
    after = target.traces()
    assert after.versions == [new] * 3 and warm(target) == set(old)
    define(target, "1s")
    output = target.run("rollback")
    assert "start " not in output and target.traces().published == old
    cooled(target)
