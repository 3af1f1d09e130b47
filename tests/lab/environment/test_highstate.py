"""Blank hosts become an environment, and become it again."""

from __future__ import annotations

import os

import pytest

from lab import hosts
from tests.lab.environment.conftest import BALANCER, CLIENT, MASTER, NAME, PORT, ROLES, WEBS
from tests.support.site import until

# Where it must run it fails instead, in the fixture.
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
        peers = consul._get("/v1/status/peers")
        members = {m["Name"] for m in consul._get("/v1/agent/members") if m["Status"] == 1}
    assert len(peers) == 3 and members == set(ROLES)


def test_a_second_highstate_changes_nothing(environment, first_highstate):
    assert environment.highstate(*ROLES) == {node: {} for node in ROLES}


def test_what_highstate_would_do_is_told_and_not_done(environment, first_highstate):
    found = environment.site.salt("state.apply", "test=True", names=ROLES)
    told = {state["result"] for states in found.values() for state in states.values()}
    assert told <= {True, None}
    assert environment.highstate(*ROLES) == {node: {} for node in ROLES}


def test_names_of_services_are_resolved_on_every_node(serving):
    addresses = serving.lab.facts["addresses"]
    for node in ROLES:
        found = serving.host(node).run("getent", "ahostsv4", f"{NAME}.service.consul")
        assert {line.split()[0] for line in found.splitlines()} == {addresses[web] for web in WEBS}


def test_users_reach_the_app_through_the_load_balancer(serving):
    address = serving.host(BALANCER).address
    get = f"import urllib.request; print(urllib.request.urlopen('http://{address}:{PORT}/').read().decode())"
    until(lambda: serving.host(CLIENT).attempt("python3", "-c", get) == (0, "release 1.0\n"), 10, "HAProxy to follow")


@pytest.mark.parametrize("resolver", ["unbound", "systemd-resolved"])
def test_other_resolvers(serving, resolver):
    """On the node that nobody resolves on but itself, then back."""
    serving.define(dns={"resolver": resolver})
    try:
        serving.host(MASTER).run("systemctl", "disable", "--now", "dnsmasq")
        changed = serving.highstate(MASTER)[MASTER]
        assert resolver in changed
        found = serving.host(MASTER).run("getent", "ahostsv4", f"{NAME}.service.consul")
        assert len({line.split()[0] for line in found.splitlines()}) == 3
        assert serving.highstate(MASTER)[MASTER] == {}
    finally:
        serving.define()
        serving.host(MASTER).run("systemctl", "disable", "--now", resolver)
        serving.highstate(MASTER)


def test_a_node_rebuilt_blank_returns_by_highstate_alone(serving):
    """Also one that is a Consul server and runs instances; users notice nothing."""
    serving.settle()
    before = serving.published()
    serving.host(WEBS[1]).rebuild()
    serving.site.accept([WEBS[1]])
    serving.site.sync([WEBS[1]])
    changed = serving.highstate(WEBS[1])[WEBS[1]]
    assert changed[NAME]["restored"] and changed["httpbin"]["restored"]
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
