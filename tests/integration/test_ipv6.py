"""A node whose address is IPv6, from the definition to what clients find: Consul, Salt and supervisord, all real."""

from __future__ import annotations

import socket
import threading

import pytest
import requests

from tests.integration.conftest import minion_daemon
from tests.support import apps
from tests.support.site import Agents, until

pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")

NODE, ADDRESS = "six1", "::1"
DRAIN = 3


@pytest.fixture(scope="module")
def agents(folder, consul_binary):
    """One node, which is all of the Consul."""
    with Agents(folder / "six", consul_binary, {NODE: ADDRESS}).running() as agents:
        yield agents


@pytest.fixture(scope="module")
def minion(master, agents, cli, pillar):
    daemon = minion_daemon(master, agents, NODE)
    assert cli.run("salt-run", "saltutil.sync_all")[0] == 0
    pillar.write({}, {})
    with daemon.started():
        assert cli.run("salt", NODE, "saltutil.sync_all")[0] == 0
        yield daemon
    # Else whoever asks all minions waits for it.
    assert cli.run("salt-key", "--yes", "--delete", NODE)[0] == 0


@pytest.fixture
def definition(minion, agents, pillar, folder):
    archives = apps.Archives(folder / "six-artifacts")
    for version in ("1.0", "1.1"):
        archives.make(version)
    app = archives.app(
        run="./bin/serve {address} {port}",
        env={"URL": "http://{host}:{port}/"},
        tests=[
            {"http": {"path": "/selftest", "contains": "release"}},
            {"tcp": True, "from": "master"},
            # The command of a test has the same environment as the instance.
            {"command": "sh -c 'test $URL = http://[::1]:$PORT/'"},
        ],
    )
    # Another spelling of the same address.
    site = apps.environment(agents, nodes={NODE: {"address": "0:0:0:0:0:0:0:1"}})
    site["apps"]["web"]["instances"] = 1
    site["strategy"]["drain"] = f"{DRAIN}s"
    pillar.write({"web": app}, {"six": site})


def test_a_release_is_deployed_checked_drained_and_shown(definition, agents, cli):
    code, output = cli.deploy("app", "web")
    assert code == 0, output
    [(where, port, version)] = agents.passing("web").values()
    assert (where, version) == (ADDRESS, "1.0")
    assert f"on [::1]:{port}" in output
    [row] = cli.result("status", "web")["apps"][0]["instances"]
    assert (row["address"], row["health"]) == (f"[::1]:{port}", "passing")
    until(lambda: f"HTTP GET http://[::1]:{port}/health: 200" in checked(agents), 20, "Consul to check it by itself")

    # A client that keeps its connection holds the old instance for as long as `drain` says.
    with socket.create_connection((ADDRESS, port)) as client:
        threading.Timer(1, client.sendall, [b"GET / HTTP/1.1\r\n"]).start()
        assert cli.deploy("app", "web", "version='1.1'")[0] == 0
    assert [release for _, _, release in agents.passing("web").values()] == ["1.1"]
    [entry] = cli.result("history", "web", "limit=1")["history"]
    [retired] = [step for step in entry["steps"] if step["phase"] == "retire"]
    assert retired["seconds"] >= DRAIN, retired


def checked(agents):
    """Return what the checks say, as the agent has it: the catalog hears of a change only, or after minutes."""
    found = requests.get(f"{agents.url(NODE)}/v1/agent/checks", timeout=10).json()
    return " ".join(check["Output"] for check in found.values())
