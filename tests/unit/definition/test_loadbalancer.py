"""What load balancers have room for, and what of it a run is refused by."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError, Refused
from saltdeploy.definition import loadbalancer
from saltdeploy.node.inventory import Inventory


def environment(instances=3, frontend=None, **changes):
    shop = {"source": {"pip": "shop"}, "run": "./bin/shop {port}", "ports": "20000-20099"}
    shop["frontend"] = {"port": 80} if frontend is None else frontend
    site = {
        "nodes": {
            "web1": {"address": "10.0.0.11", "roles": ["app"]},
            "lb1": {"address": "10.0.0.21", "roles": ["loadbalancer"]},
        },
        "apps": {"shop": {"instances": instances}, "idle": {}},
        **changes,
    }
    idle = {"source": {"pip": "idle"}, "run": "./bin/idle"}
    return definition.load({"apps": {"shop": shop, "idle": idle}, "environments": {"site": site}})


def refused(count, **changes):
    """Return what a run with ``count`` instances of shop is refused with; nothing if it is not."""
    found = environment(**changes)
    try:
        loadbalancer.refuse_beyond(found, found.apps["shop"], count)
    except Refused as exc:
        return str(exc)
    return ""


def test_the_frontend_of_an_app_whose_definition_is_wrong_is_not_taken_away():
    with pytest.raises(DefinitionError, match="keeps the configuration.*apps:shop:frontend:port"):
        loadbalancer.frontends(environment(frontend={"port": "eighty"}))


def test_two_apps_on_one_port_of_haproxy_change_nothing_of_it():
    found = environment()
    found.clashing["idle"] = "apps:idle:frontend:port: 80 is the port of the frontend of shop, too."
    with pytest.raises(DefinitionError, match="keeps the configuration.*apps:idle:frontend:port"):
        loadbalancer.frontends(found)


def test_what_haproxy_listens_on():
    given = {"port": 80, "timeout": "90s", "trusted_proxies": ["10.0.0.5", "10.1.0.0/16"]}
    assert loadbalancer.frontends(environment(frontend=given)) == [
        {
            "app": "shop",
            "record": "_shop._tcp.service.consul",
            "weighted": True,
            "port": 80,
            "mode": "http",
            "timeout": 90000,
            "trusted_proxies": ["10.0.0.5/32", "10.1.0.0/16"],
            "slots": 64,
        }
    ]


SKYDNS = {"skydns": {"etcd": ["http://10.0.0.1:2379"]}}


def test_haproxy_follows_the_names_of_skydns_without_their_weights():
    [found] = loadbalancer.frontends(environment(discovery=SKYDNS))
    assert (found["record"], found["weighted"]) == ("_shop._tcp.site.skydns.local", False)


@pytest.mark.parametrize("asked, allowed", [("full", True), ("none", True), ("10%", False)])
def test_a_share_that_the_load_balancers_do_not_see_is_refused(asked, allowed):
    strategy = {"pause": "manual", "canary_weight": asked}
    broken = environment(discovery=SKYDNS, strategy=strategy).broken
    assert broken == (
        {}
        if allowed
        else {
            "shop": "apps:shop:strategy:canary_weight: 10% cannot be given by the load balancers (lb1) with SkyDNS,"
            " because HAProxy makes the same weight of all weights that CoreDNS has. Write `canary_weight: full`, which"
            " gives each instance as much as any other, or `none`. The wave and the number of instances say how much"
            " the new release gets."
        }
    )
    # Consul's weights are true there. Without a load balancer or a frontend, clients follow the weights of CoreDNS.
    assert environment(strategy=strategy).broken == {}
    assert environment(discovery=SKYDNS, strategy=strategy, nodes={"web1": {"address": "10.0.0.11"}}).broken == {}


@pytest.mark.parametrize("timeout, milliseconds", [("0.1ms", 1), ("500ms", 500), ("24h", 86400000)])
def test_a_timeout_is_never_for_ever(timeout, milliseconds):
    [found] = loadbalancer.frontends(environment(frontend={"port": 80, "timeout": timeout}))
    assert found["timeout"] == milliseconds


@pytest.mark.parametrize("timeout", [0, "0s", 86400 * 24 + 1])
def test_a_timeout_that_haproxy_cannot_have(timeout):
    broken = environment(frontend={"port": 80, "timeout": timeout}).broken["shop"]
    assert re.match("apps:shop:frontend:timeout: .* is too (long|short). Write more than 0 and at most 24 days", broken)


def test_a_proxy_that_is_no_address():
    broken = environment(frontend={"port": 80, "trusted_proxies": ["10.0.0.5", "lb.lan"]}).broken["shop"]
    assert broken.startswith("apps:shop:frontend:trusted_proxies:1: found 'lb.lan'")


@pytest.mark.parametrize("instances, most", [(1, 32), (16, 32), (20, 40), (500, 1000)])
def test_there_is_room_for_two_releases_side_by_side(instances, most):
    [found] = loadbalancer.frontends(environment(instances))
    assert found["slots"] == 2 * most
    assert refused(most, instances=instances) == ""
    assert refused(most + 1, instances=instances)


def test_more_than_there_is_room_for_is_refused_with_what_to_do():
    assert refused(33) == (
        "33 instances of shop are too many for its load balancers (lb1): they take 32, and the others would get no"
        " request. Set `instances` to 17 or more in environments:site:apps:shop, run `salt -L lb1 state.apply"
        " loadbalancer`, then run this again."
    )
    assert refused(33, instances=17) == ""


def test_it_is_no_matter_where_no_load_balancer_is_or_none_is_asked_for():
    assert refused(999, nodes={"web1": {"address": "10.0.0.11"}}) == ""
    site = environment()
    assert loadbalancer.refuse_beyond(site, site.apps["idle"], 999) is None


CONFIGURATION = """
backend shop
    server none 127.0.0.1:1 backup
    server-template shop- 64 _shop._tcp.service.consul resolvers consul
backend shop-2
    server-template shop-2- 70 _shop-2._tcp.service.consul resolvers consul
"""


def test_slots_are_read_from_haproxys_configuration():
    assert [loadbalancer.slots_in(CONFIGURATION, app) for app in ("shop", "shop-2", "shop-", "sho.")] == [64, 70, 0, 0]


def test_a_load_balancer_that_is_behind_its_definition_is_named():
    """Highstate was not applied there since the definition was changed."""
    shop = environment(instances=100).apps["shop"]
    assert loadbalancer.lacking(shop, 32, {"lb1": 64}) == []
    assert loadbalancer.lacking(shop, 100, {"lb2": 0, "lb1": 64}) == [
        "lb1 has 64 slots for shop, and two releases of 100 instances need 200: some instances may get no request."
        " Run `salt lb1 state.apply loadbalancer`.",
        "lb2 has no slots for shop, and two releases of 100 instances need 200: some instances may get no request."
        " Run `salt lb2 state.apply loadbalancer`.",
    ]
    assert loadbalancer.lacking(environment().apps["idle"], 100, {"lb1": 0}) == []


@pytest.mark.parametrize("roles, slots", [(["app"], None), (["loadbalancer"], 64)])
def test_a_node_says_how_many_slots_it_has(tmp_path, monkeypatch, roles, slots):
    found = environment(nodes={"web1": {"address": "10.0.0.11", "roles": roles}})
    (tmp_path / "haproxy.cfg").write_text(CONFIGURATION)
    monkeypatch.setattr(loadbalancer, "HAPROXY", str(tmp_path / "haproxy.cfg"))
    node = Inventory(SimpleNamespace(node="web1"), found, None, None)
    assert node._slots("shop") == slots
    (tmp_path / "haproxy.cfg").unlink()
    assert node._slots("shop") == (slots and 0)
