"""An instance is published as it is defined, or as it was published before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.model import Registration
from saltdeploy.node import publication, restoration

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


def test_a_restart_brings_in_nothing_that_was_not_deployed(node):
    node.runtime.resume = node.runtime.up.add
    may_pass(node)
    node.restart("web")
    assert tags(node) == ("e", "1.0") and node.runtime.up == {"web_1.0_0"}


def test_what_only_discovery_has_lost_comes_back_as_it_was(node):
    node.discovery.services.clear()
    recorded(node, a=["web_1.0_0"])
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]
    assert tags(node) == ("e", "1.0")
