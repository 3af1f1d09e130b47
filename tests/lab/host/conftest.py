"""A real host with systemd, a minion of a Salt master on this machine. Started once for all of these tests.

A second host is a node of the same environment, for tests that replace instances node by node.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from lab import hosts
from lab.site import python
from tests.support.apps import Archives
from tests.support.hosts import laboratory
from tests.support.site import REPOSITORY, SCRIPTS, Cli, Pillar, until
from tooling import getconsul
from tooling.agents import ask
from tooling.config import consul_config, master_config, minion_config
from tooling.daemons import Daemon

NODE, OTHER, MASTER = "web1", "web2", "salt_master"
# Hosts without Consul.
SKY = ("sky1", "sky2")
PORTS = (4505, 4506)


@pytest.fixture(scope="package")
def lab():
    """A network with nothing on it."""
    with laboratory(hosts.free_addresses([NODE, OTHER, *SKY])) as lab:
        (lab.folder / "files").mkdir()
        yield lab


@pytest.fixture(scope="package")
def archives(lab):
    """The test's app, whose releases the master serves."""
    return Archives(lab.folder / "files" / "artifacts")


@pytest.fixture(scope="package")
def pillar(lab):
    return Pillar(lab.folder / "pillar", MASTER)


@pytest.fixture(scope="package")
def cli(lab, pillar):
    """Salt's commands on this machine, whose master listens in the lab."""
    address, folder = lab.gateway, lab.folder / "etc"
    config = {
        **master_config(
            lab.folder / "master", [REPOSITORY / "salt", lab.folder / "files"], pillar.folder, "root", PORTS
        ),
        "auto_accept": True,
        "interface": address,
    }
    folder.mkdir()
    # JSON is YAML.
    (folder / "master").write_text(json.dumps(config))
    command = (SCRIPTS / "salt-master", "-c", folder, "--log-level=warning")
    lab.daemons.start(Daemon("salt-master", command, lab.folder / "salt-master.log", "lab"))
    until(lambda: [_connect(address, port) for port in PORTS], 120, "the Salt master to listen")
    cli = Cli(folder)
    # The nodes' pillar is made with the bundle, as soon as they come.
    code, output = cli.run("salt-run", "saltutil.sync_all")
    assert code == 0, output
    pillar.write({}, {})
    return cli


@pytest.fixture(scope="package")
def host(lab, cli):
    """A host as README wants a node: a minion, and a Consul agent of its own. It says nothing of a runtime."""
    return boot(lab, cli, NODE)


@pytest.fixture(scope="module")
def other(lab, cli, host):
    """A second host like the first, for a module. It is gone afterwards."""
    other = boot(lab, cli, OTHER)
    yield other
    other.kill()


def boot(lab, cli, name):
    """Boot the host ``name``, and wait until it is a node. The first host has the Consul server."""
    consul = getconsul.get(REPOSITORY / ".demo" / "bin")
    address, server = (lab.facts["addresses"][node] for node in (name, NODE))
    minion = {**minion_config(name, "/var/lib/salt", "root", PORTS, {}), "master": lab.gateway}
    files = {
        "etc/consul.json": json.dumps(consul_config(name, address, [server], "/var/lib/consul")),
        "etc/salt/minion": json.dumps(minion),
    }
    services = {
        "consul": "/usr/local/bin/consul agent -config-file=/etc/consul.json",
        "salt-minion": f"{SCRIPTS}/salt-minion",
    }
    binds = (*python(), f"{Path(consul).resolve()}:/usr/local/bin/consul")
    host = lab.add(hosts.Spec(name, address, binds, files, services))
    host.boot()
    await_minion(cli, name)
    code, output = cli.run("salt", name, "saltutil.sync_all")
    assert code == 0, output
    until(lambda: ask(host.address, f"/v1/health/node/{name}?consistent"), 60, "Consul to have a leader")
    return host


def await_minion(cli, name=NODE):
    """Wait until a host's minion answers, asking it often."""
    until(lambda: cli.run("salt", "--timeout=3", name, "test.ping")[0] == 0, 120, "the minion to answer")


def _connect(address, port):
    socket.create_connection((address, port), 1).close()
