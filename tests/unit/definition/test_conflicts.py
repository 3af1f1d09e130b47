"""Parts of an environment that are right by themselves and cannot be together."""

from __future__ import annotations

import pytest
from saltdeploy import definition
from saltdeploy.core.errors import DefinitionError
from saltdeploy.core.model import App
from saltdeploy.definition import cluster, conflicts

from tests.support.definitions import SHOP, pillar


def test_no_app_is_named_as_the_candidates_of_another():
    both = pillar()
    both["apps"]["shop-candidate"] = both["apps"]["shop"]
    both["environments"]["test"]["apps"]["shop-candidate"] = {}
    why = (
        "environments:test:apps:shop-candidate: candidates of shop have this name in discovery. Rename shop-candidate."
    )
    assert definition.load(both).clashing == {"shop-candidate": why, "shop": why}
    del both["environments"]["test"]["apps"]["shop"]
    assert list(definition.load(both).apps) == ["shop-candidate"]


def test_data_of_one_app_is_no_other_apps():
    wrong = pillar({"data": "/srv/one"})
    wrong["apps"]["till"] = {**SHOP, "data": "/srv/one/"}
    wrong["environments"]["test"]["apps"]["till"] = {}
    assert definition.load(wrong).clashing == {
        "till": "apps:till:data: /srv/one is the data folder of shop, too. Name another folder.",
        "shop": "apps:shop:data: /srv/one is the data folder of till, too. Name another folder.",
    }


def test_a_package_of_one_app_is_no_other_apps():
    package = {"source": {"package": "memcached"}, "strategy": {"type": "recreate"}, "ports": 11211}
    wrong = pillar(package)
    wrong["apps"]["till"] = {**SHOP, **package, "ports": 11212}
    wrong["environments"]["test"]["apps"]["till"] = {}
    said = "memcached is the package of {}, too, and a node has one version of it. Let one app deploy it."
    assert definition.load(wrong).clashing == {
        "till": f"apps:till:source:package: {said.format('shop')}",
        "shop": f"apps:shop:source:package: {said.format('till')}",
    }


def test_two_frontends_on_one_port():
    both = pillar({"frontend": {"port": 80}})
    both["apps"]["cart"] = {**SHOP, "frontend": {"port": 80}}
    both["environments"]["test"]["apps"]["cart"] = {"version": "1.0"}
    clashing = definition.load(both).clashing
    assert clashing["cart"].startswith("apps:cart:frontend:port: 80 is the port of the frontend of shop, too")
    assert clashing["shop"].startswith("apps:shop:frontend:port: 80 is the port of the frontend of cart, too")
    both["environments"]["test"]["apps"]["cart"]["frontend"] = {"port": 81}
    assert definition.load(both).clashing == {}


@pytest.mark.parametrize(
    "name, why",
    [
        ("front", ""),
        ("shop", "shop is the name of shop itself in discovery. Write another name."),
        ("cart", "cart is the name of cart itself in discovery. Write another name."),
        ("cart-candidate", "cart-candidate is the name of cart itself in discovery. Write another name."),
        ("consul", "consul is the name of Consul itself in discovery. Write another name."),
    ],
)
def test_a_second_name_is_nobody_elses_own(name, why):
    both = pillar({"service": {"name": name}})
    both["apps"]["cart"] = SHOP
    both["environments"]["test"]["apps"]["cart"] = {}
    assert definition.load(both).clashing == ({"shop": f"apps:shop:service:name: {why}"} if why else {})


def test_nor_is_it_the_name_of_an_app_whose_definition_is_wrong():
    """Its instances may serve all the same."""
    both = pillar({"service": {"name": "cart"}})
    both["apps"].update({"cart": {**SHOP, "nope": 1}, "cart-candidate": SHOP})
    both["environments"]["test"]["apps"].update({"cart": {}, "cart-candidate": {}})
    environment = definition.load(both)
    assert set(environment.broken) == {"cart"} and set(environment.clashing) == {"shop", "cart-candidate"}


def test_apps_may_share_a_second_name():
    both = pillar({"service": {"name": "front"}})
    both["apps"]["cart"] = both["apps"]["shop"]
    both["environments"]["test"]["apps"]["cart"] = {}
    assert definition.load(both).clashing == {}


@pytest.mark.parametrize("services, may", [(["postgres"], False), (["front"], True), (None, False)])
def test_nodes_of_a_consul_with_access_control_may_register_a_second_name(services, may):
    """Or Consul would refuse it in the middle of a deployment."""
    allowed = {} if services is None else {"services": services}
    one = pillar({"service": {"name": "front"}})
    nodes = {name: {**about, "roles": [cluster.SERVER]} for name, about in one["environments"]["test"]["nodes"].items()}
    one["environments"]["test"].update(consul={"version": "1.22.3", **allowed}, nodes=nodes)
    why = (
        "apps:shop:service:name: the nodes of this environment may not register front. Add it to"
        " environments:test:consul:services, and apply consul.acl on the first server."
    )
    assert definition.load(one).clashing == ({} if may else {"shop": why})


@pytest.mark.parametrize(
    "requires, circle",
    [
        ({"shop": ["cart"], "cart": ["shop"]}, ["shop", "cart", "shop"]),
        ({"shop": ["shop"]}, ["shop", "shop"]),
        ({"shop": ["a"], "a": ["b"], "b": ["shop", "a"]}, ["shop", "a", "b", "shop"]),
        ({"shop": ["a", "db"], "a": ["b"], "b": ["a"]}, []),
    ],
)
def test_apps_that_require_one_another(requires, circle):
    apps = {name: App(name, None, "", requires=tuple(others)) for name, others in requires.items()}
    assert conflicts.circle("shop", apps["shop"].requires, apps) == circle


def test_an_address_belongs_to_one_node():
    """IPv6 has several spellings of one address."""
    nodes = {"web1": {"address": "fd00::1"}, "web2": {"address": "10.0.0.2"}, "web3": {"address": "fd00:0::0:1"}}
    with pytest.raises(DefinitionError) as caught:
        conflicts.check("environments:test", {"nodes": nodes})
    assert str(caught.value) == (
        "environments:test:nodes:web3:address: fd00::1 is the address of web1, too. Write an address of its own for each"
        " node."
    )
    del nodes["web3"]
    conflicts.check("environments:test", {"nodes": nodes})


@pytest.mark.parametrize(
    "consul, wrong",
    [
        ({}, []),
        ({"agent": "http://{address}:8500", "servers": ["https://[fd00::1]:8501"]}, []),
        ({"agent": "http://[{address}]:8500"}, ["agent"]),
        ({"agent": "http://{node}:8500"}, ["agent"]),
        (
            {"servers": ["http://a", "http://:8500", "http://a:0", "http://a:b"]},
            ["servers:1", "servers:2", "servers:3"],
        ),
        ({"servers": ["http://[fd00::1"]}, ["servers:0"]),
    ],
)
def test_urls_of_consul_are_urls(consul, wrong):
    environment = {"nodes": {}, "discovery": {"consul": consul}}
    try:
        conflicts.check("here", environment)
        lines = []
    except DefinitionError as exc:
        lines = str(exc).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"here:discovery:consul:{key}" for key in wrong]


SKYDNS = {"skydns": {"etcd": ["http://10.0.0.1:2379"]}}


@pytest.mark.parametrize(
    "more, said",
    [
        ({"discovery": {**SKYDNS, "consul": {}}}, "here:discovery: has `consul` and `skydns`. An environment has one"),
        ({"discovery": SKYDNS, "consul": {}}, "here:consul: has no meaning with `discovery: {skydns: …}`."),
        (
            {"discovery": {"skydns": {"etcd": ["http://a", "http://:1"]}}},
            "here:discovery:skydns:etcd:1: this is no URL",
        ),
        ({"discovery": {"skydns": {"etcd": [], "agent": "http://{x}"}}}, "here:discovery:skydns:agent: this is no URL"),
    ],
)
def test_an_environment_has_one_service_discovery(more, said):
    with pytest.raises(DefinitionError) as told:
        conflicts.check("here", {"nodes": {}, **more})
    assert str(told.value).startswith(said)
    conflicts.check("here", {"nodes": {}, "discovery": SKYDNS})
