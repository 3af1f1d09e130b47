"""In place: the new release takes the one port of the old, node after node, and users never notice."""

from __future__ import annotations

import json
import signal
import socket

import pytest

from tests.support.site import until
from tests.support.target import NAME

PORT = 23000


@pytest.fixture(autouse=True)
def users(target, minions):
    """Users during the test. None of their requests fails, and at the end there is what is published, on one port."""
    define(target)
    if len(target.traces().published) != 3 or places(target) != {(PORT, old(target))}:
        target.start_over(target.old)
    with target.users() as users:
        yield users
        target.end()
    assert users.failures == []
    assert target.traces().clean and {port for port, _ in places(target)} == {PORT}


def places(target):
    return {(port, version) for _, port, version in target.traces().published.values()}


def old(target):
    """Return the release that serves."""
    return max(target.traces().versions, default="")


def define(target, tests=None, env=None, **strategy):
    app = {"ports": PORT, **({"tests": tests} if tests else {}), **({"env": env} if env else {})}
    target.define(app, {"type": "recreate", "deregister_delay": "300ms", **strategy})


def in_order(output, *words):
    """Assert that ``words`` come in ``output``, each after the one before."""
    at = 0
    for word in words:
        assert word in output[at:], f"{word!r} is not there, or not in its place:\n{output}"
        at = output.index(word, at) + len(word)


def test_other_settings_and_the_way_back(target, users):
    """The successor has the port and the release of the instance that it replaces, and another id."""
    before, ids = old(target), dict(target.traces().published)
    define(target, env={"KIND": "tried"}, tests=[{"command": "sh -c 'test {node}-$KIND != web2-tried'"}])
    output = target.deploy(before, code=1)
    assert "all is as before" in output and dict(target.traces().published) == ids
    define(target, env={"KIND": "new"})
    output = target.deploy(before)
    in_order(
        output, "(env: KIND)", f"first retire {NAME}_{before}_{PORT} on web1", "retire   web1: ", "publish  web1: "
    )
    assert all(i.startswith(f"{NAME}_{before}_{PORT}-") for _, i in target.traces().published)
    target.run("rollback")
    assert dict(target.traces().published) == ids


def test_an_upgrade(target, users):
    """Node after node, two serving at any time; highstate leaves the node alone that has none just now."""
    before, new = old(target), target.archives.make("brief", **{"delay/selftest": 0.5})
    define(target)
    run = target.start(new).until("retire   web2:")
    assert target.traces().versions == sorted([new, before])
    code, output = target.cli.run("salt", "--out=json", "--static", "web2", "state.apply")
    assert (code, [state["changes"] for state in json.loads(output)["web2"].values()]) == (0, [{}, {}]), output
    output = run.end(0)
    for wave, node in enumerate(("web1", "web2", "web3"), 1):
        in_order(
            output,
            f"wave {wave}: first retire {NAME}_{before}_{PORT} on {node}, while 2 others serve",
            f"wave {wave}: start, test and publish 1 on {node}",
        )
        in_order(output, f"retire   {node}: ", f"start    {node}: ", f"publish  {node}: ", "healthy")
    assert target.traces().versions == [new] * 3
    assert users.wait_for(new, 10)


def test_a_release_that_fails_on_the_second_node(target):
    """The new one goes before the old one comes back, the last node first; all is as it was, on its port."""
    before = target.traces()
    target.archives.make("half")
    define(target, [{"command": "test {node}-{version} != web2-half"}])
    output = target.deploy("half", code=1)
    in_order(output, "healthy", "start    web2: ", "stop     web2: ", "restore  web2: ", "stop     web1: ")
    in_order(output, "stop     web1: ", "restore  web1: ", "all is as before (3 instances of")
    assert target.traces() == before


@pytest.mark.thorough
def test_the_old_one_does_not_come_back(target):
    """What serves goes on serving, the exit code says look, and the next run needs no repair."""
    before = old(target)
    target.archives.make("stuck")
    define(target, [{"command": "test {node} != web2"}])
    output = target.deploy("stuck", code=2)
    in_order(output, "restore  web2: ", "the other nodes stay as they are, to serve")
    assert target.traces().versions == sorted(["stuck", before])
    define(target)
    output = target.deploy(before)
    in_order(output, "wave 1: start, test and publish 1 on web2", "first retire shop_stuck_")
    assert target.traces().versions == [before] * 3


@pytest.mark.parametrize("when", ["as the job is sent", "while it starts"])
def test_interrupted(target, when):
    before = target.traces()
    run = target.start("slow").until("start    web1 ")
    if when == "while it starts":
        started(target, "web1", "slow")
    output = run.send(signal.SIGINT).end(1)
    in_order(output, "stop     web1: ", "restore  web1: ", "all is as before", "it was interrupted")
    until(lambda: not target.traces().candidates, 10, "the catalog to be without the candidate")
    assert target.traces() == before


def test_killed_twice(target):
    """Between stop and start, then while the new one is tested: each next run goes on from what is there."""
    before, new = old(target), "1.1"
    address = next(address for (node, _), (address, _, _) in target.traces().published.items() if node == "web1")
    with socket.create_connection((address, PORT)):  # it is drained as long as this is open
        run = target.start(new).until("retire   web1 ")
        until(lambda: len(target.traces().published) == 2, 10, "web1 to be withdrawn")
        run.send(signal.SIGKILL).end(-signal.SIGKILL)
    until(lambda: len(target.traces().folders) == 2, 10, "web1 to be emptied")
    assert target.traces().locked and not target.traces().record["nodes"].get("web1")

    run = target.start("slow").until("wave 1: start, test and publish 1 on web1").until("start    web1 ")
    started(target, "web1", "slow")
    run.send(signal.SIGKILL).end(-signal.SIGKILL)
    assert target.traces().versions == [before] * 2

    output = target.deploy(new)
    in_order(output, "stop instances that serve nobody: shop_slow_", "wave 1: start, test and publish 1 on web1")
    in_order(output, f"wave 2: first retire {NAME}_{before}_{PORT} on web2, while 2 others serve")
    assert target.traces().versions == [new] * 3


def started(target, node, version):
    instance = (node, f"{NAME}_{version}_{PORT}")
    until(lambda: instance in target.traces().folders, 30, f"an instance of {version} on {node}")


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("plan", "instances=1", "nodes=web1"), 0, "nothing else serves on these nodes: shop is down there until"),
        (
            ("app", "publish=False"),
            3,
            "leave publish=False out (in place, a candidate needs the port of the old instance)",
        ),
        (
            ("app", "keep=True"),
            3,
            "leave keep=True out (in place, the new release needs the port of the kept instance)",
        ),
    ],
)
def test_what_is_said_before(target, arguments, code, words):
    before = target.traces()
    function, *arguments = arguments
    found, output = target.cli.deploy(function, NAME, "version=slow", *arguments)
    assert found == code and words in output, output
    assert target.traces() == before


def test_no_capacity_is_taken_away_unasked(target):
    before = target.traces()
    target.define({"ports": PORT})
    assert f"apps:{NAME}:strategy: {{type: recreate}}" in target.deploy("slow", code=3)
    assert target.traces() == before
