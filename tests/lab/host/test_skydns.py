"""On real hosts: SkyDNS as highstate sets it up. etcd with TLS and access control, CoreDNS, and the health agents."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import tarfile
from types import SimpleNamespace

import pytest
import requests
from saltdeploy import discovery
from saltdeploy.core.errors import Failed
from saltdeploy.discovery import etcd

from lab import hosts
from lab.site import python, together
from tests.lab.host.conftest import PORTS, SKY, await_minion
from tests.support import apps
from tests.support.site import REPOSITORY, SCRIPTS, until
from tooling import getcoredns
from tooling.config import minion_config
from tooling.daemons import Daemon

# Where it must run it fails instead, in the fixture.
pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

UNIT, PROGRAM = "saltdeploy-health", "etc/supervisor/conf.d/saltdeploy-health.conf"
FIRST, SECOND = SKY
# A server for all other names. No real one has this name.
UPSTREAM = ".:5353 {{\n    bind {address}\n    hosts {{\n        192.0.2.7 elsewhere.example\n    }}\n}}\n"


@pytest.fixture(scope="module")
def coredns(lab):
    """A CoreDNS as its releases are packed; its path on this machine, and its digest. Hosts reach no release."""
    path = lab.folder / f"coredns_{getcoredns.VERSION}_linux.tgz"
    with tarfile.open(path, "w") as archive:
        archive.add(getcoredns.get(REPOSITORY / ".demo" / "bin"), "coredns")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def upstream(lab):
    """The address of a name server that knows names of others."""
    file = lab.folder / "Corefile"
    file.write_text(UPSTREAM.format(address=lab.gateway))
    program = getcoredns.get(REPOSITORY / ".demo" / "bin")
    lab.daemons.start(Daemon("upstream", (str(program), "-conf", str(file)), lab.folder / "upstream.log", "lab"))
    return f"{lab.gateway}:5353"


@pytest.fixture(scope="module")
def nodes(lab, cli, coredns):
    """Two blank hosts, which are minions of the master."""
    found = []
    for name in SKY:
        # Only root may read Salt's own Python here.
        config = minion_config(name, "/var/lib/salt", "root", PORTS, {"health_python": "/usr/bin/python3"})
        files = {"etc/salt/minion": json.dumps({**config, "master": lab.gateway})}
        binds = (*python(), f"{coredns[0]}:/srv/coredns.tgz")
        services = {"salt-minion": f"{SCRIPTS}/salt-minion"}
        host = lab.add(hosts.Spec(name, lab.facts["addresses"][name], binds, files, services))
        found.append(host)
    together(lambda host: host.boot(), found)
    for name in SKY:
        await_minion(cli, name)
    yield dict(zip(SKY, found))
    for host in found:
        host.kill()


@pytest.fixture(scope="module")
def site(nodes, pillar, archives, coredns, upstream):
    """The definition of the environment ``site``, whose SkyDNS is ours to set up."""
    if not archives.digests.get("1.0"):
        archives.make("1.0")
    source = {"archive": "salt://artifacts/web-{version}.tar.gz", "sha256": archives.digests}
    app = archives.app(source=source, ports="21100-21109", tests=[{"http": "/selftest", "from": "master"}])
    del app["user"]
    definition = {
        "nodes": {n: {"address": host.address, "roles": ["etcd-server", "app"]} for n, host in nodes.items()},
        "skydns": {"version": getcoredns.VERSION, "source": "/srv/coredns.tgz", "sha256": coredns[1]},
        "discovery": {"skydns": {"ttl": 1}},
        "dns": {"upstream": [upstream]},
        "apps": {"sky": {"version": "1.0", "instances": 2}},
    }
    pillar.write({"sky": app}, {"site": {**apps.environment(SimpleNamespace(nodes={}, discovery={})), **definition}})


@pytest.mark.timeout(1500)
def test_highstate_sets_up_skydns_on_blank_hosts_and_an_app_is_found_by_its_name(site, nodes, cli, lab):
    first, second = nodes[FIRST], nodes[SECOND]
    highstate = ("salt", "--out=json", "--static", "-L", ",".join(SKY), "state.apply")
    cli.run("salt", "-L", ",".join(SKY), "saltutil.sync_all")

    # A dry run changes nothing, and says so.
    _, output = cli.run(*highstate, "test=True")
    for node, states in json.loads(output).items():
        assert [s["name"] for s in states.values() if s["result"] is False and "etcd" in s["__id__"]] == [], output
        would = {state["__id__"] for state in states.values() if state["result"] is None}
        expected = {"saltdeploy etcd program", "saltdeploy etcd is ready", "coredns service", UNIT}
        assert expected | ({"saltdeploy etcd access control"} if node == FIRST else set()) <= would
    assert not any((host.root / path).exists() for host in nodes.values() for path in ("etc/etcd", "etc/coredns"))

    code, output = cli.run("salt-run", "environment.up", "site", timeout=500)
    assert code == 0, output
    store = lab.folder / "master/pki/saltdeploy"
    kept, ca = json.loads((store / "site.json").read_text()), store / "site-ca.pem"
    tokens = {kept["tokens"][key] for key in ("management", "deployer", "dns")} | {*kept["tokens"]["agents"].values()}
    assert not any(token in output for token in tokens)
    code, output = cli.run(*highstate)
    changed = {n: [s["__id__"] for s in states.values() if s["changes"]] for n, states in json.loads(output).items()}
    assert (code, changed) == (0, {FIRST: [], SECOND: []}), output
    assert not any(token in output for token in tokens)

    # The app is found by its name on each node, and so are the names of others.
    addresses = sorted(host.address for host in nodes.values())
    for host in nodes.values():
        assert sorted(resolved(host, "sky.site.skydns.local")) == addresses
        assert resolved(host, "elsewhere.example") == ["192.0.2.7"]

    # No process has rights, and the secrets are their own.
    for host in nodes.values():
        assert [user(host, unit) for unit in ("etcd", "coredns", UNIT)] == ["etcd", "coredns", UNIT]
    paths = ("/etc/coredns/Corefile", "/etc/etcd/tls/node.key", "/etc/saltdeploy/health.json")
    modes = first.run("stat", "--format=%a %U %G", *paths).splitlines()
    assert modes == ["640 root coredns", "640 root etcd", f"640 root {UNIT}"]

    refuses_strangers(second, ca)
    each_node_writes_its_own_part_only(nodes, kept, ca)
    the_agent_keeps_the_records(nodes, kept, cli, ca)

    supervisord_runs_the_agent(nodes[SECOND], kept, cli, ca)

    # All of it goes again, but for the data of etcd.
    code, output = cli.run("salt-run", "environment.down", "site", "platform=True", "confirm=True")
    assert code == 0, output
    for host in nodes.values():
        units = [host.attempt("systemctl", "is-active", unit)[1].strip() for unit in ("etcd", "coredns", UNIT)]
        assert units == ["inactive"] * 3
        left = ("etc/coredns", "etc/saltdeploy/health.json", "etc/etcd/tls/node.key", "etc/systemd/system/etcd.service")
        assert [path for path in left if (host.root / path).is_file()] == []
        assert (host.root / "var/lib/etcd/saltdeploy/member").is_dir()
        assert "Written by saltdeploy" not in (host.root / "etc/resolv.conf").read_text()
    assert not (second.root / PROGRAM).exists() and not second.attempt("pgrep", "-f", "saltdeploy[.]health")[1]


def refuses_strangers(host, ca):
    """Assert that nobody gets in without TLS, without a login, or without a certificate as a member."""
    url = f"//{host.address}:2379/v3/kv/range"
    with pytest.raises(requests.RequestException):
        requests.post(f"http:{url}", json={"key": "AA=="}, timeout=10)
    answer = requests.post(f"https:{url}", json={"key": "AA==", "range_end": "AA=="}, timeout=10, verify=str(ca))
    assert answer.status_code == 400 and "user name is empty" in answer.text
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(OSError), socket.create_connection((host.address, 2380), 10) as plain:
        with context.wrap_socket(plain) as secure:
            secure.sendall(b"GET /members HTTP/1.0\r\n\r\n")
            assert secure.recv(100) == b""
            raise OSError("closed")


def each_node_writes_its_own_part_only(nodes, kept, ca):
    """Assert that the user of the first node cannot change anything of the second."""
    first, second = (entry_keys(node) for node in (FIRST, SECOND))
    client = etcd.Etcd(urls(nodes), etcd.Login(f"saltdeploy-node-{FIRST}", kept["tokens"]["agents"][FIRST], str(ca)))
    own = [key for key in first if not key.endswith(FIRST)]
    assert client.transact([], [etcd.put(key, "x") for key in own], "write")
    assert client.transact([], [etcd.delete(etcd.one(key)) for key in own], "remove")
    others = ["/saltdeploy/site/values/deploy/site/sky", "/saltdeploy/site/locks/x", "/skydns/local/skydns/other/x"]
    for key in (*second, *others, "/skydns/local/skydns/site/sky/x"):
        with pytest.raises(Failed, match="permission denied"):
            client.transact([], [etcd.put(key, "x")], "write")
        with pytest.raises(Failed, match="permission denied"):
            client.transact([], [etcd.delete(etcd.one(key))], "remove")
    # It reads all of its environment: an app may look for others.
    assert client.get(f"/saltdeploy/site/agents/{SECOND}").text == "ready"
    # The user of CoreDNS reads DNS records, and nothing else. The master's user registers nothing.
    for name, token, key in (
        ("saltdeploy-dns", "dns", first[0]),
        ("saltdeploy-dns", "dns", first[1]),
        ("saltdeploy-deployer", "deployer", first[0]),
    ):
        other = etcd.Etcd(urls(nodes), etcd.Login(name, kept["tokens"][token], str(ca)))
        with pytest.raises(Failed, match="permission denied"):
            other.transact([], [etcd.put(key, "x")], "write")
    with pytest.raises(Failed, match="authentication failed"):
        etcd.Etcd(urls(nodes), etcd.Login(f"saltdeploy-node-{SECOND}", "x", str(ca))).get("/saltdeploy/site/agents/")


def the_agent_keeps_the_records(nodes, kept, cli, ca):
    """Assert that a health agent keeps what passes in etcd, and that a node whose agent has ended is not found."""
    first = nodes[FIRST]
    login = {"user": "saltdeploy-deployer", "password": kept["tokens"]["deployer"], "ca": str(ca)}
    settings = {"domain": "skydns.local", "environment": "site", "etcd": urls(nodes), **login}
    with discovery.connect({"skydns": settings}) as backend:
        found = backend.instances("sky", passing=True)
        assert [e.id for e in found] == ["sky_1.0_21100"] * 2
        # Killed, it is back with all it knew.
        before = pid(first)
        first.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
        until(lambda: pid(first) not in ("0", before), 20, "systemd to start it again")
        assert backend.instances("sky", passing=True) == found
        # An instance that ends is not found any more, and a node whose agent is gone is not, either.
        nodes[SECOND].run("systemctl", "stop", "app-sky_1.0_21100")
        until(lambda: resolved(first, "sky.site.skydns.local") == [first.address], 30, "it to be out")
        assert "the health agent" not in first.run("journalctl", "-u", UNIT, "-o", "cat")
        first.run("systemctl", "stop", UNIT)
        until(lambda: not backend.instances("sky", passing=True), 30, "the lease to end")
        code, output = cli.deploy("status", "sky")
        assert code == 0 and f"critical: the health agent of {FIRST} does not answer" in output, output
        first.run("systemctl", "start", UNIT)
        until(lambda: backend.nodes() == set(SKY), 30, "the agent to be back")


def supervisord_runs_the_agent(host, kept, cli, ca):
    """Assert that a node without systemd has the same agent: here, a node that says that it has another init."""
    host.run("systemctl", "disable", "--now", UNIT)
    (host.root / f"etc/systemd/system/{UNIT}.service").unlink()
    host.run("apt-get", "update")
    host.run("apt-get", "install", "--yes", "supervisor", timeout=120)
    apply = ("salt", "--out=json", "--static", host.name, "state.apply", "saltdeploy.skydns.agent")
    code, output = cli.run("salt", host.name, "grains.set", "init", "sysvinit", "force=True")
    assert code == 0, output
    code, output = cli.run(*apply)
    assert code == 0, output
    assert (host.root / PROGRAM).exists() and host.run("systemctl", "is-active", "supervisor")
    states = json.loads(cli.run(*apply)[1])[host.name]
    assert [state["__id__"] for state in states.values() if state["changes"] or not state["result"]] == []
    run_by = host.run("ps", "-o", "user:32=,ppid=", "-p", host.run("supervisorctl", "pid", UNIT).strip()).split()
    assert run_by == [UNIT, host.run("supervisorctl", "pid").strip()]
    login = {"user": "saltdeploy-deployer", "password": kept["tokens"]["deployer"], "ca": str(ca)}
    settings = {"domain": "skydns.local", "environment": "site", "etcd": [f"https://{host.address}:2379"], **login}
    with discovery.connect({"skydns": settings}) as backend:
        until(lambda: backend.nodes() == set(SKY), 30, "the agent to be known")


def entry_keys(node):
    """Return a key of each kind that the agent of a node writes."""
    return [
        f"/saltdeploy/site/services/sky/{node}/x",
        f"/skydns/local/skydns/site/sky/{node}/x",
        f"/saltdeploy/site/services/sky-candidate/{node}/x",
        f"/saltdeploy/site/agents/{node}",
    ]


def urls(nodes):
    return [f"https://{host.address}:2379" for host in nodes.values()]


def resolved(host, name):
    """Return the addresses that a program on a host gets for a name."""
    _, output = host.attempt("getent", "ahostsv4", name)
    return sorted({line.split()[0] for line in output.splitlines() if line[:1].isdigit()})


def user(host, unit):
    return host.run("ps", "-o", "user:32=", "-p", pid(host, unit)).strip()


def pid(host, unit=UNIT):
    return host.run("systemctl", "show", unit, "--property=MainPID", "--value").strip()
