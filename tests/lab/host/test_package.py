"""A Debian package on two real hosts: its own unit runs as ours, and each node in turn gets the other version."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest

from lab import base, hosts
from tests.lab.host.conftest import NODE, OTHER, await_minion
from tests.support import apps, debs
from tests.support.site import until
from tooling.agents import ask, get
from tooling.requestloop import RequestLoop

# Where it must run it fails instead, in the fixture.
pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

NAME, UNIT, PORT, HERE = "haproxy", "haproxy.service", 22100, "srv/debs"
# HAProxy fills in the variables that saltdeploy gives to an instance.
CONFIG = """\
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend all
    bind "${ADDRESS}:${PORT}"
    http-request return status 200 content-type text/plain string "release %s"
"""


@pytest.fixture(scope="module")
def nodes(lab, host, other):
    """The hosts by name. Their apt knows two further versions of Debian's HAProxy, which the first has already."""
    repository = debs.Repository(lab.folder / "debs")
    [package] = (host.root / base.MIRROR).glob("haproxy_*.deb")
    for release in ("1", "2"):
        repository.repack(package, f"9+{release}", {"etc/haproxy/haproxy.cfg": CONFIG % release})
    found = {NODE: host, OTHER: other}
    for each in found.values():
        shutil.copytree(repository.folder, each.root / HERE)
        each.write("etc/apt/sources.list.d/debs.list", f"deb [trusted=yes] file:/{HERE} ./\n")
    host.run("apt-get", "update")
    install = ("apt-get", "install", "--yes", "--no-install-recommends", "haproxy=2*")
    host.run("env", "DEBIAN_FRONTEND=noninteractive", *install, timeout=240)
    return found


@pytest.fixture
def deploy(nodes, pillar, cli):
    """Deploy the app ``proxy`` with ``deploy.<function>``, which must end well. Return the output."""
    app = {
        "source": {"package": NAME, "version": "9+{version}"},
        "unit": UNIT,
        "ports": PORT,
        "checks": [{"http": "/", "interval": "1s", "timeout": "1s"}],
        "resources": {"memory": "256M"},
        "env": {"SECRET": "hunter2"},
    }
    addresses = {name: host.address for name, host in nodes.items()}
    consul = {"agent": "http://{address}:8500", "servers": [f"http://{addresses[NODE]}:8500"]}
    site = SimpleNamespace(nodes=addresses, discovery={"consul": consul})
    environment = apps.environment(site, apps={"proxy": {"version": "1", "instances": 2}})
    environment["strategy"].update(type="recreate", healthy_deadline="60s", progress_deadline="180s")
    pillar.write({"proxy": app}, {"site": environment})

    def run(function, *args):
        code, output = cli.deploy(function, "proxy", *args)
        assert code == 0, output
        return output

    return run


@pytest.mark.thorough
def test_the_own_unit_of_a_package_node_after_node(deploy, nodes, cli):
    host, other = nodes.values()
    agents = [each.address for each in nodes.values()]

    def answers():
        return [get(each.address, PORT, "/") for each in nodes.values()]

    def shown(each, version, *properties):
        text = each.run(
            "systemctl", "show", f"app-proxy_{version}_{PORT}.service", f"--property={','.join(properties)}"
        )
        return dict(line.split("=", 1) for line in text.splitlines())

    def status(each):
        code, output = each.attempt("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Version}", NAME)
        return output.split() if code == 0 else []

    assert host.attempt("systemctl", "is-active", UNIT)[1].strip() == "active"
    deploy("app", "version='1'")
    assert answers() == [(200, b"release 1")] * 2
    for each in nodes.values():
        assert status(each) == ["hi", "9+1"]
        assert each.attempt("systemctl", "is-enabled", UNIT)[1].strip() == "masked"
        assert each.attempt("systemctl", "is-active", UNIT)[1].strip() == "inactive"
        # It is the unit of the package, with limits and a place at boot of ours.
        wanted = {"Type": "notify", "MemoryMax": str(256 << 20), "UnitFileState": "enabled", "TimeoutStopUSec": "10s"}
        assert shown(each, "1", *wanted) == wanted
        assert "hunter2" not in each.run("systemctl", "show", f"app-proxy_1_{PORT}.service")

    pid = shown(host, "1", "MainPID")["MainPID"]
    host.run("kill", "-KILL", pid)
    until(lambda: shown(host, "1", "MainPID")["MainPID"] not in ("0", pid), 30, "systemd to start it again")
    until(lambda: len(ask(agents[0], "/v1/health/service/proxy?passing")) == 2, 30, "Consul to find it healthy again")

    with RequestLoop(agents, "proxy", "/") as clients:
        assert clients.wait_for("1", 20)
        told = deploy("app", "version='2'")
        assert "wave 2: first retire proxy_1_" in told and answers() == [(200, b"release 2")] * 2
        assert clients.wait_for("2", 20)
        # The archive has neither of them any more.
        for each in nodes.values():
            shutil.rmtree(each.root / HERE)
            each.run("rm", "/etc/apt/sources.list.d/debs.list")
        deploy("rollback")
        assert answers() == [(200, b"release 1")] * 2
        assert clients.wait_for("1", 20)
    assert clients.failures == []

    other.reboot()
    until(lambda: get(other.address, PORT, "/") == (200, b"release 1"), 60, "it to serve after the reboot")
    assert other.attempt("systemctl", "is-active", UNIT)[1].strip() == "inactive"

    until(lambda: len(ask(agents[0], "/v1/health/service/proxy?passing")) == 2, 60, "Consul to find both healthy again")
    await_minion(cli, OTHER)
    deploy("remove", "confirm=True")
    # One node had the package before, and has it back without the app. The other did not have it.
    assert [status(each)[0] for each in nodes.values()] == ["ii", "rc"]
    assert host.attempt("systemctl", "is-enabled", UNIT)[1].strip() == "enabled"
    assert host.attempt("systemctl", "is-active", UNIT)[1].strip() == "inactive"
