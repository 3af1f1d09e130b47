"""An instance is published as it is defined, or as it was published before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed
from saltdeploy.core.model import Registration
from saltdeploy.discovery import Endpoint
from saltdeploy.node import publication, restoration, retirement, reweigh

from tests.support.onenode import make_node, may_pass, recorded, serves


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The Lifecycle of a node whose app got another tag in its definition, which nobody has deployed."""
    node = make_node(tmp_path, monkeypatch, strategy={"drain": 0})
    serves(node)
    node.environment.apps["web"] = replace(node.environment.apps["web"], service=Registration(("blue",)))
    return node


def tags(node):
    [service] = [s for i, s in node.discovery.services.items() if not i.endswith("_candidate")]
    return service.tags


def test_it_is_published_as_it_is_defined(node):
    publication.withdraw(node, "web")
    publication.publish(node, "web")
    assert tags(node) == ("e", "1.0", "blue")


def test_a_revert_publishes_it_as_it_was(node):
    publication.withdraw(node, "web")
    publication.publish(node, "web", as_before=True)
    assert tags(node) == ("e", "1.0")


@pytest.mark.parametrize("kept", ["", "[]", '{"id": "web_1.0_0"}', '{"new": 1, "tags": [], "checks": []}'])
def test_where_nothing_is_kept_that_can_be_read_it_is_as_it_is_defined(node, kept):
    (node.host.instances.folder("web_1.0_0") / ".registered").write_text(kept)
    publication.publish(node, "web", as_before=True)
    assert tags(node) == ("e", "1.0", "blue")


@pytest.fixture
def named(node):
    """The same node, whose app is found under a second name, too."""
    node.environment.apps["web"] = replace(node.environment.apps["web"], service=Registration(name="front"))
    publication.withdraw(node, "web")
    publication.publish(node, "web")
    return node


def test_it_is_found_under_its_second_name_as_long_as_it_is_published(named):
    assert sorted(named.discovery.services) == ["web_1.0_0", "web_1.0_0_named"]
    gone, withdraw = [], named.discovery.withdraw
    named.discovery.withdraw = lambda one: (gone.append(one), withdraw(one))
    assert publication.withdraw(named, "web") == ["web_1.0_0"]
    assert sorted(named.discovery.services) == ["web_1.0_0_candidate"]
    # Its check would pass or fail for no reason once the first service is gone.
    assert gone == ["web_1.0_0_named", "web_1.0_0"]


@pytest.mark.parametrize(
    "tries, kept, minion, address",
    [(1, True, "a", ""), (2, True, "a", ""), (1, False, "a", ""), (1, True, "before", "10.9.9.9")],
    ids=["first", "second", "not kept", "renamed and moved"],
)
def test_nothing_goes_on_while_the_catalog_still_has_a_second_name(named, monkeypatch, tries, kept, minion, address):
    """Without a leader, the agent forgets what the catalog still shows. So a second try waits, too.

    The registration tells where it is: the minion may have had another name and another address.
    """
    if not kept:
        (named.host.instances.folder("web_1.0_0") / ".registered").unlink()
    for service in named.discovery.services.values():
        service.address = address or service.address
    catalog = dict(named.discovery.services)
    monkeypatch.setattr(
        named.discovery,
        "instances",
        lambda name: [
            Endpoint(s.id, name, "a", address, 0, meta={**s.meta, "minion": minion})
            for s in catalog.values()
            if s.name == name == "front"
        ],
    )
    for _ in range(tries):
        with pytest.raises(DiscoveryUnavailable, match="web_1.0_0: still in the catalog"):
            publication.withdraw(named, "web")
    assert "web_1.0_0_candidate" not in named.discovery.services


def test_it_is_not_published_until_clients_find_it_under_its_second_name(named, monkeypatch):
    publication.withdraw(named, "web")
    monkeypatch.setattr(named.discovery, "instances", lambda name: [])
    with pytest.raises(Failed, match="clients do not get the new registration within .*: web_1.0_0_named"):
        publication.publish(named, "web")


def test_a_second_name_that_only_discovery_has_lost_comes_back(named):
    """A job may be killed between the two names."""
    recorded(named, a=["web_1.0_0"])
    assert named.inventory.find_lost("web", ["web_1.0_0"]) == []
    del named.discovery.services["web_1.0_0_named"]
    assert named.inventory.find_lost("web", ["web_1.0_0"]) == ["web_1.0_0"]
    assert restoration.restore(named, "web", ["web_1.0_0"]) == ["web_1.0_0"]
    assert named.discovery.services["web_1.0_0_named"].name == "front" and named.runtime.up == {"web_1.0_0"}


def test_clients_may_use_what_only_has_its_second_name(named):
    """So it is drained before it stops."""
    del named.discovery.services["web_1.0_0"]
    assert publication.deregister(named, "web", ["web_1.0_0"]) == ["web_1.0_0"]
    assert named.discovery.services == {}


def test_both_names_have_the_same_weight(named):
    assert reweigh.weigh(named, "web", {"web_1.0_0": 512}) == ["web_1.0_0"]
    assert {service.weight for service in named.discovery.services.values()} == {512}
    assert reweigh.weigh(named, "web", {"web_1.0_0": 512}) == []
    named.discovery.services["web_1.0_0_named"].weight = 256
    assert reweigh.weigh(named, "web", {"web_1.0_0": 512}) == ["web_1.0_0"]
    assert {service.weight for service in named.discovery.services.values()} == {512}


def test_a_restart_brings_in_nothing_that_was_not_deployed(node):
    node.runtime.resume = node.runtime.up.add
    may_pass(node)
    retirement.restart(node, "web")
    assert tags(node) == ("e", "1.0") and node.runtime.up == {"web_1.0_0"}


def test_what_only_discovery_has_lost_comes_back_as_it_was(node):
    node.discovery.services.clear()
    recorded(node, a=["web_1.0_0"])
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]
    assert tags(node) == ("e", "1.0")
