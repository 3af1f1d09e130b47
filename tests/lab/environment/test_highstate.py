"""Blank hosts become an environment, and become it again."""

from __future__ import annotations

import csv
import datetime
import json
import os
import ssl
import time

import pytest
from saltdeploy.definition import cluster
from saltdeploy.environment import certificates

from lab import hosts
from tests.lab.environment.conftest import BALANCER, CLIENT, MASTER, NAME, PORT, ROLES, WEBS, Watch, main_pid
from tests.support.site import until

# Where it must run it fails instead, in the fixture.
# Seconds: longer than HAProxy takes to notice that names are not resolved any more.
HELD = 8
pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())


def test_blank_hosts_become_an_environment(environment, first_highstate):
    changed, seconds = first_highstate
    print(f"highstate from blank: {seconds:.0f} s")
    assert set(changed) == set(ROLES)
    for node, states in changed.items():
        assert {"consul service", "dnsmasq"} <= set(states)
        assert ("haproxy" in states) == (node == BALANCER)
        assert ("access control" in states) == (node == WEBS[0])
    with environment.consul() as consul:
        peers = consul.get("/v1/status/peers")
        members = {m["Name"] for m in consul.get("/v1/agent/members") if m["Status"] == 1}
    assert len(peers) == 3 and members == set(ROLES)


def test_what_a_second_highstate_would_do_is_told_and_it_changes_nothing(environment, first_highstate):
    found = environment.site.salt("state.apply", "test=True", names=ROLES)
    told = {state["result"] for states in found.values() for state in states.values()}
    assert told <= {True, None}
    assert environment.highstate(*ROLES) == {node: {} for node in ROLES}


def test_names_of_services_are_resolved_on_every_node(serving):
    addresses = serving.lab.facts["addresses"]
    for node in ROLES:
        assert resolved(serving.host(node)) == {addresses[web] for web in WEBS}


def resolved(host, name=f"{NAME}.service.consul"):
    """Return the addresses that a program on a host finds the app, or another name, at; none: it does not find it."""
    code, output = host.attempt("getent", "ahostsv4", name)
    return {line.split()[0] for line in output.splitlines()} if code == 0 else set()


def ask(serving, count=1):
    """Have a client ask for the app, each time over a new connection; return what it was answered, line by line."""
    url = f"http://{serving.host(BALANCER).address}:{PORT}/where"
    get = f"import urllib.request as r\nfor _ in range({count}): print(r.urlopen('{url}').read().decode())"
    code, output = serving.host(CLIENT).attempt("python3", "-c", get)
    return output.splitlines() if code == 0 else []


def test_users_reach_the_app_through_the_load_balancer(serving):
    until(lambda: ask(serving) == ["release 1.0"], 10, "HAProxy to follow")


def test_the_load_balancer_keeps_what_it_knew_when_consul_does_not_answer(serving):
    serving.settle()
    balancer = serving.host(BALANCER)
    balancer.run("systemctl", "stop", "consul")
    try:
        time.sleep(HELD)
        assert ask(serving, 30) == ["release 1.0"] * 30
    finally:
        balancer.run("systemctl", "start", "consul")
    until(lambda: serving.members() == len(ROLES), 60, "all Consul agents to be alive")


@pytest.mark.thorough
def test_the_load_balancer_keeps_what_it_knew_when_nothing_is_published(serving):
    """What was withdrawn runs on: better it than nobody."""
    serving.settle()
    code, output = serving.cli.deploy("withdraw", NAME, "env=site", "confirm=True")
    assert code == 0 and serving.published() == {}, output
    time.sleep(HELD)
    assert ask(serving, 30) == ["release 1.0"] * 30
    code, output = serving.cli.deploy("publish", NAME, "env=site")
    assert code == 0 and serving.versions() == ["1.0"] * 3, output


@pytest.mark.thorough
def test_the_load_balancer_honours_weights(serving):
    """HAProxy takes a weight of SRV in units of 256."""
    serving.settle()
    heavy = serving.host(WEBS[0])
    heavy.run("python3", "-c", WEIGH, serving.secrets["tokens"]["nodes"], NAME, "65280")
    count = 60

    def shares():
        before = served(serving)
        assert len(ask(serving, count)) == count
        return {node: served(serving)[node] - before[node] for node in WEBS}

    # The others have the normal weight: 255 of 455.
    until(lambda: 0.5 * count < shares()[WEBS[0]] < 0.62 * count, 15, "the heavy one to get its share")
    serving.deploy(NAME, "1.1")
    serving.settle()


def served(serving):
    """Return how many requests HAProxy sent to each node, in all."""
    show = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy/admin.sock')\n"
    show += "s.sendall(b'show stat\\n')\nprint(s.makefile().read())"
    rows = csv.DictReader(serving.host(BALANCER).run("python3", "-c", show).lstrip("# ").splitlines())
    found = dict.fromkeys(WEBS, 0)
    addresses = {address: node for node, address in serving.lab.facts["addresses"].items()}
    for row in rows:
        node = addresses.get(row["addr"].partition(":")[0])
        if row["pxname"] == NAME and node in found:
            found[node] += int(row["stot"])
    return found


WEIGH = """\
import json, sys, urllib.request
token, name, weight = sys.argv[1:]
def ask(path, body=None):
    data = json.dumps(body).encode() if body else None
    method = "PUT" if body else "GET"
    request = urllib.request.Request("http://127.0.0.1:8500" + path, data, {"X-Consul-Token": token}, method=method)
    return urllib.request.urlopen(request, timeout=10).read()
[service] = [s for s in json.loads(ask("/v1/agent/services")).values() if s["Service"] == name]
known = {key: service[key] for key in ("ID", "Address", "Port", "Tags", "Meta")}
weights = {"Passing": int(weight), "Warning": 1}
ask("/v1/agent/service/register", {"Name": name, **known, "Weights": weights})
"""


# A name server that gives every name this address.
FOREIGN = "192.0.2.7"
NAMES = f"""\
import socket, struct, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
while True:
    query, client = server.recvfrom(4096)
    end = query.index(0, 12) + 5
    answer = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("{FOREIGN}")
    answer = answer if query[end - 4 : end - 2] == b"\\0\\1" else b""
    header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, bool(answer), 0, 0)
    server.sendto(header + query[12:end] + answer, client)
"""
KEPT = "etc/resolv.conf.before-saltdeploy"


@pytest.fixture
def foreign(serving):
    """The address of a name server outside of the environment."""
    host = serving.host(CLIENT)
    host.write("srv/names.py", NAMES)
    host.run("systemd-run", "--unit=names", "python3", "/srv/names.py", host.address)
    yield host.address
    host.run("systemctl", "stop", "names")


@pytest.mark.parametrize(
    "resolver",
    ["systemd-resolved", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("dnsmasq", "unbound"))],
)
def test_other_resolvers(serving, resolver, foreign):
    """On the node that nobody resolves on but itself, then back. Names that are not Consul's are resolved, too."""
    node = serving.host(MASTER)
    kept = node.run("cat", f"/{KEPT}")
    serving.define(dns={"resolver": resolver, "upstream": [foreign]})
    try:
        node.run("systemctl", "disable", "--now", "dnsmasq")
        changed = serving.highstate(MASTER)[MASTER]
        assert resolver in changed
        assert len(resolved(node)) == 3
        until(lambda: resolved(node, "one.example.com") == {FOREIGN}, 10, "the upstream server to be asked")
        assert serving.highstate(MASTER)[MASTER] == {}
        if resolver != "unbound":  # which asks the root
            node.write(KEPT, f"nameserver {foreign}\n")
            serving.define(dns={"resolver": resolver})
            serving.highstate(MASTER)
            assert len(resolved(node)) == 3
            until(lambda: resolved(node, "two.example.com") == {FOREIGN}, 10, "the host's own server to be asked")
            assert serving.highstate(MASTER)[MASTER] == {}
    finally:
        node.write(KEPT, kept)
        serving.define()
        node.run("systemctl", "disable", "--now", resolver)
        serving.highstate(MASTER)


def test_a_node_rebuilt_blank_returns_by_highstate_alone(serving):
    """Also one that is a Consul server and runs instances; users notice nothing."""
    serving.settle()
    before = serving.published()
    serving.host(WEBS[1]).rebuild()
    serving.site.accept([WEBS[1]])
    serving.site.sync([WEBS[1]])
    changed = serving.highstate(WEBS[1])[WEBS[1]]
    assert changed[f"saltdeploy app {NAME}"]["restored"] and changed["saltdeploy app httpbin"]["restored"]
    until(lambda: serving.published() == before, 30, "what it ran to be published again")
    assert serving.highstate(*ROLES) == {node: {} for node in ROLES}


def test_an_instance_may_use_what_pillar_allows(serving):
    serving.settle()
    serving.define(app={"resources": {"memory": "200M", "cpu": "50%"}})
    serving.deploy(NAME, "1.1")
    for node, instance in serving.published():
        shown = serving.host(node).run(
            "systemctl", "show", f"app-{instance}.service", "--property=MemoryMax,CPUQuotaPerSecUSec,NoNewPrivileges"
        )
        assert set(shown.split()) == {f"MemoryMax={200 * 2**20}", "CPUQuotaPerSecUSec=500ms", "NoNewPrivileges=yes"}


def test_what_crashes_again_and_again_is_found_by_nobody(serving):
    """Until it can start again; then it comes back by itself."""
    serving.settle()
    before = serving.published()
    [(node, instance)] = [key for key in before if key[0] == WEBS[2]]
    host, behaviour = serving.host(node), f"/srv/saltdeploy/{NAME}/releases/1.0/behaviour"
    unit = f"app-{instance}.service"
    restarts = ("systemctl", "show", unit, "--property=NRestarts", "--value")
    host.run("sh", "-c", f"printf '\\nexit=3' >> {behaviour}")
    try:
        host.run("kill", "-KILL", main_pid(host, unit))
        until(lambda: serving.published().keys() == before.keys() - {(node, instance)}, 15, "it to be found no more")
        others = {serving.host(web).address for web in WEBS if web != node}
        until(lambda: resolved(host) == others, 5, "names to lead to the others only")
        tried = int(host.run(*restarts))
        until(lambda: int(host.run(*restarts)) > tried + 1, 15, "systemd to try again")
        assert "critical" in serving.cli.deploy("status", NAME, "env=site")[1]
    finally:
        host.run("sed", "-i", "/exit=3/d", behaviour)
    until(lambda: serving.published() == before, 20, "it to come back")


def test_a_certificate_is_renewed_before_it_ends(serving):
    """The one that the master keeps has less than a third of its life left: Consul takes in the next one as it runs."""
    node, host, path = WEBS[1], serving.host(WEBS[1]), serving.secrets_file
    kept = json.loads(path.read_text())
    identity = cluster.identities("site", serving.definition)[node]
    old = datetime.datetime.now(datetime.timezone.utc) - 0.7 * certificates.NODE_LIFE
    kept["certificates"][node] = certificates.issue(kept["ca"], *identity, old)
    path.write_text(json.dumps(kept))
    before, process = shown_certificate(host), main_pid(host, "consul")
    assert "/etc/consul.d/tls/node.pem" in serving.highstate(node)[node]
    renewed = serving.secrets["certificates"][node]["certificate"]
    until(lambda: shown_certificate(host) == renewed, 10, "Consul to show the new certificate")
    assert before != renewed and main_pid(host, "consul") == process
    assert serving.members() == len(ROLES)
    assert serving.highstate(node)[node] == {}


def shown_certificate(host):
    """Return the certificate that a server shows, PEM."""
    return ssl.get_server_certificate((host.address, cluster.HTTPS))


def test_all_agents_are_restarted_one_after_the_other(serving):
    """As for a new version of Consul. There is always a leader, or soon another, and no node's instances but its own go."""
    serving.settle()
    before = {node: main_pid(serving.host(node), "consul") for node in WEBS}
    words = ("--batch-size=1", "--list", ",".join(WEBS), "state.apply", "consul.restart")
    with Watch(serving, 2, {"1.0"}) as watch:
        code, output = serving.cli.run("salt", *words)
    assert code == 0, output
    assert watch.wrong == [] and watch.looks
    after = {node: main_pid(serving.host(node), "consul") for node in WEBS}
    assert not set(before.items()) & set(after.items())
    assert len(serving.published()) == 3
