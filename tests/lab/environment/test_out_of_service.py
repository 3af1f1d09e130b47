"""Nodes are taken out of service: of saltdeploy nothing is left there. This is last, as nobody brings them back."""

from __future__ import annotations

import json
import os

import pytest

from lab import hosts
from tests.lab.environment.conftest import BALANCER, MASTER, NAME, ROLES, WEBS
from tests.support.site import until

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

NODE = WEBS[2]
CLEAN = "app.clean,loadbalancer.clean,dns.clean,consul.clean"
# Where the state tree and the jobs of nodes put files.
PLACES = ("/etc", "/opt", "/srv", "/usr/local/bin", "/var/lib")
OURS = r"consul|saltdeploy|dnsmasq|haproxy|app-(shop|httpbin)_"


def apply(serving, *words, names=(NODE,)):
    """Apply states. Return ``{minion: {id: state}}``, also of states that fail."""
    command = ("salt", "--out=json", "--static", "--timeout=300", "-L", ",".join(names), "state.apply", *words)
    found = json.loads(serving.site.master.attempt(*command, timeout=300)[1])
    return {node: {state["__id__"]: state for state in found[node].values()} for node in names}


def traces(host):
    """Return all that there is of saltdeploy on a host, and of the packages that it installed."""
    # The packages leave the packages that they needed, and a folder of HAProxy.
    others = r"/var/lib/(haproxy|lab|dpkg|apt|systemd)|/etc/dbus-1/"
    return {
        "files": lines(host, f"find {' '.join(PLACES)} 2>/dev/null | grep -E '{OURS}' | grep -vE '{others}'"),
        "units": lines(host, f"systemctl list-unit-files --plain --no-legend | grep -E '{OURS}'"),
        "processes": lines(host, f"ps axww -o args | grep -E '{OURS}' | grep -vE 'grep|salt-minion'"),
        "ports": lines(host, "ss --no-header --listening --numeric --tcp --udp | grep -vE ':5355|:450[56]'"),
        "users": lines(host, "getent passwd consul; getent group consul"),
    }


def lines(host, command):
    return host.attempt("sh", "-c", command)[1].splitlines()


def test_of_nodes_that_were_taken_out_of_service_nothing_is_left(serving):
    version = serving.settle("1.0", "1.1")
    host, balancer = serving.host(NODE), serving.host(BALANCER)
    untouched = host.run("cat", "/etc/resolv.conf.before-saltdeploy")
    before = {name: traces(serving.host(name)) for name in (NODE, BALANCER)}
    assert all(before[NODE].values()) and before[BALANCER]["units"]

    # The record has instances on it, and nothing comes after that.
    refused = apply(serving, CLEAN)[NODE]
    assert [state["comment"] for state in refused.values() if not state["changes"]], refused
    comment = refused["saltdeploy apps are gone"]["comment"]
    assert f"salt-run deploy.app {NAME} version=" in comment and "deploy.remove httpbin" in comment
    assert traces(host) == before[NODE]

    addresses = serving.lab.facts["addresses"]
    roles = {**ROLES, NODE: ["leaving"], BALANCER: ["leaving"]}
    serving.define(nodes={name: {"address": addresses[name], "roles": some} for name, some in roles.items()})
    serving.deploy(NAME, version)
    code, output = serving.cli.deploy("remove", "httpbin", "env=site", "confirm=True")
    assert code == 0, output

    both = (NODE, BALANCER)
    done = apply(serving, CLEAN, names=both)
    bad = [s["comment"] for states in done.values() for s in states.values() if not s["result"]]
    assert not bad, bad
    left = {name: traces(serving.host(name)) for name in both}
    kept = "The data of this Consul server stay in /var/lib/consul"
    assert done[NODE]["saltdeploy consul data"]["comment"].startswith(kept)
    assert [path for path in left[NODE]["files"] if not path.startswith("/var/lib/consul")] == []
    assert left[NODE]["users"] and {k: v for k, v in left[NODE].items() if v and k not in ("files", "users")} == {}
    assert {k: v for k, v in left[BALANCER].items() if v} == {}
    assert host.run("cat", "/etc/resolv.conf") == untouched
    assert balancer.attempt("dpkg-query", "--show", "haproxy")[0] != 0

    # Nobody lists them, and the others serve.
    with serving.consul() as consul:
        nodes = {node["Node"] for node in consul.get("/v1/catalog/nodes")}
        assert nodes == {MASTER, *WEBS[:2]} and len(consul.get("/v1/status/peers")) == 2
    assert {node for node, _ in serving.published()} == set(WEBS[:2])
    until(lambda: serving.members() == 3, 10, "the others to be alive")

    again = apply(serving, CLEAN, names=both)
    assert {(s["result"], str(s["changes"])) for states in again.values() for s in states.values()} == {(True, "{}")}
