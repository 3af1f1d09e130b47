"""The state of a node apart from its apps."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable
from saltdeploy.discovery.backend import Service
from saltdeploy.node import machines
from saltdeploy.system.disk import Space

from tests.support.onenode import make_node, registered


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def test_a_node_that_is_well(node, monkeypatch):
    monkeypatch.setattr(machines.disk, "space", lambda folder: Space(5 << 30, 10 << 30))
    well = {
        "agent": "",
        "free": 5 << 30,
        "size": 10 << 30,
        "low": False,
        "instances": [],
        "releases": ["web"],
        "undefined": [],
        "services": [],
        "boot": machines.look(node)["boot"],
    }
    assert machines.look(node) == well and len(well["boot"]) > 36
    registered(node, "blog_1.0_80", app="blog", environment="e")
    assert machines.look(node)["undefined"] == ["blog"]
    # Anybody may write such metadata.
    meta = {"environment": "e", "app": "postgres"}
    node.discovery.publish(Service("postgres", "postgres", "10.0.0.1", 5432, meta=meta))
    assert machines.look(node)["services"] == ["postgres"]


def test_a_full_disk_and_an_agent_that_is_gone(node, monkeypatch):
    def gone():
        raise DiscoveryUnavailable("Consul does not answer")

    monkeypatch.setattr(machines.disk, "space", lambda folder: Space(1 << 20, 10 << 30))
    monkeypatch.setattr(node.discovery, "leader", gone)
    found = machines.look(node)
    assert (found["agent"], found["low"], found["undefined"]) == ("Consul does not answer", True, [])


def test_the_facts_of_a_node():
    grains = {"os": "Debian", "osrelease": "12", "kernelrelease": "6.1.0", "pythonversion": [3, 11, 2, "final", 0]}
    found = machines.facts({**grains, "saltversion": "3008.1"}, {"curl": "7.88.1-10", "nginx": ""})
    assert found == {
        "os": "Debian 12",
        "kernel": "6.1.0",
        "python": "3.11",
        "salt": "3008.1",
        "packages:curl": "7.88.1-10",
    }
    assert machines.facts({}, {}) == {}
