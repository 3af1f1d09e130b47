"""Which settings of instances a definition has changed since they were started."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import replace

import pytest
from saltdeploy.core.changes import NOT_KEPT
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, Refused
from saltdeploy.core.model import Registration
from saltdeploy.discovery import Endpoint
from saltdeploy.node import comparison, publication, retirement

from tests.support.onenode import make_node, may_pass, start

INI, OTHER = {"etc/web.ini": "salt://web.ini"}, {"config": ["etc/web.ini"]}


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node whose templates are rendered into their URL, and into what its ``texts`` have for it."""
    made = make_node(tmp_path, monkeypatch, env={"LEVEL": "info"}, config=INI)
    made.texts = {}
    made.render = lambda url, path, values: path.write_text(f"{made.texts.get(url, url)} {values['instance']}")
    may_pass(made)
    start(made)
    return made


def define(node, **changes):
    node.environment.apps["web"] = replace(node.environment.apps["web"], **changes)


def compared(node, release="1.0"):
    return comparison.compare(node, "web", release)


def test_nothing_has_changed(node):
    assert compared(node) == ({"1.0": {}}, [])
    assert comparison.observe(node, "web").editions == {"1.0": None} and comparison.observe(
        node, "web", "1.0"
    ).editions == {"1.0": {}}


def test_what_has_changed_is_named(node):
    define(node, env={"LEVEL": "debug"}, memory="1G", config={})
    assert compared(node) == ({"1.0": {"env": ["LEVEL"], "resources": ["memory"], **OTHER}}, [])
    assert compared(node, "2.0") == compared(node, "")


def test_a_template_is_rendered_anew(node):
    node.texts["salt://web.ini"] = "another pillar"
    assert compared(node) == ({"1.0": OTHER}, [])


def test_a_template_that_is_another_text_each_time_does_not_count_and_is_named(node):
    number = itertools.count()
    node.render = lambda url, path, values: path.write_text(str(next(number)))
    found, [warning] = compared(node)
    assert found == {"1.0": {}} and warning.startswith("config:etc/web.ini of web is another text each time")


def test_a_template_that_cannot_be_rendered_differs(node):
    def render(url, path, values):
        raise Failed(f"{url}: is not on the master: see its file_roots.")

    node.render = render
    why = "config:etc/web.ini of web cannot be compared: salt://web.ini: is not on the master: see its file_roots."
    assert compared(node) == ({"1.0": OTHER}, [why])


def test_settings_that_are_lost_are_not_known(node):
    node.host.settings.forget("web", "1.0")
    assert compared(node) == ({"1.0": {NOT_KEPT: []}}, []) and comparison.observe(node, "web").editions == {}


def test_settings_of_instances_that_are_gone_are_compared_for_their_release_only(node):
    retirement.stop(node, "web", drain=0)
    define(node, env={})
    assert compared(node) == ({"1.0": {"env": ["LEVEL"]}}, []) and compared(node, "2.0") == compared(node, "") == (
        {},
        [],
    )


def test_so_are_settings_with_a_number(node):
    node.host.settings.keep("web", "1.0@7", 5, node.host.settings.read("web", "1.0", 0), "d")
    define(node, env={})
    assert compared(node)[0] == {"1.0": {"env": ["LEVEL"]}, "1.0@7": {"env": ["LEVEL"], **OTHER}}
    assert compared(node, "2.0")[0] == {"1.0": {"env": ["LEVEL"]}}


def test_an_app_that_is_not_defined_here_is_not_compared(node):
    assert comparison.compare(node, "till", "1.0") == ({}, [])
    define(node, source=None)
    assert compared(node) == ({}, []) and comparison.observe(node, "web", "1.0").editions == {"1.0": None}


def test_all_that_has_changed_is_told_as_data(node):
    node.discovery.found = {}
    publication.publish(node, "web")
    define(node, env={"LEVEL": "debug"}, service=Registration(("blue",)))
    [one] = node.discovery.services
    why = json.dumps([[time.time(), "tcp: timed out"]])
    (node.host.instances.folder(one) / ".restarts").write_text(why)
    assert comparison.changed(node, "web") == {
        "settings": {"1.0": {"env": ["LEVEL"]}},
        "registrations": {one: ["tags"]},
        "restarts": {one: [1, "tcp: timed out"]},
    }
    define(node, env={"LEVEL": "info"}, service=Registration())
    assert comparison.changed(node, "web")["registrations"] == {}


def test_what_has_changed_is_told_without_an_agent_too(node, monkeypatch):
    def registered():
        raise DiscoveryUnavailable("Consul does not answer")

    monkeypatch.setattr(node.discovery, "registered", registered)
    define(node, env={"LEVEL": "debug"})
    found = comparison.changed(node, "web")
    assert found == {"settings": {"1.0": {"env": ["LEVEL"]}}, "registrations": {}, "restarts": {}}


def test_the_addresses_of_a_service_that_is_followed_are_settings(node, monkeypatch):
    found = []
    monkeypatch.setattr(node.discovery, "instances", lambda name, passing=False: found, raising=False)
    define(node, requires=("db",), follow=True, env={"LEVEL": "info", "DB": "{addresses:db}", "AT": "{address}"})
    found.append(Endpoint("db", "db", "web2", "10.0.0.2", 5432, meta={}))
    found.append(Endpoint("db_1.0_1", "db", "web3", "10.0.0.3", 5432, meta={"environment": "another"}))
    may_pass(node)
    [*_, started] = start(node).instances
    assert node.launch(node.app("web"), started).own_env["DB"] == "10.0.0.2:5432"
    assert compared(node)[0]["1.0"] == {"env": ["AT", "DB"]}, "the first instance had neither"
    settings = node.host.settings.read("web", started.version, started.slot)
    assert settings.env == {"LEVEL": "info", "DB": "10.0.0.2:5432", "AT": "{address}"}
    assert settings.differences(comparison.settings.of(node.app("web"), settings.config)) == {}
    found.append(Endpoint("db2", "db", "web1", "10.0.0.1", 5432, meta={}))
    assert settings.differences(comparison.settings.of(node.app("web"), settings.config)) == {"env": ["DB"]}
    assert node.app("web").env["DB"] == "10.0.0.1:5432,10.0.0.2:5432"
    # What runs keeps what it was started with.
    assert node.launch(node.app("web"), started).own_env["DB"] == "10.0.0.2:5432"


def test_addresses_are_not_known_without_an_agent(node, monkeypatch):
    def gone(name, passing=False):
        raise DiscoveryUnavailable("Consul does not answer")

    monkeypatch.setattr(node.discovery, "instances", gone, raising=False)
    define(node, requires=("db",), follow=True, env={"DB": "{addresses:db}"})
    with pytest.raises(DiscoveryUnavailable):
        node.app("web")
    assert comparison.changed(node, "web")["settings"] == {}


def test_no_instance_starts_without_the_addresses_that_it_follows(node, monkeypatch):
    monkeypatch.setattr(node.discovery, "instances", lambda name, passing=False: [], raising=False)
    define(node, requires=("db",), follow=True, env={"DB": "{addresses:db}"})
    may_pass(node)
    with pytest.raises(Refused, match="web follows db, and discovery has no healthy instance of it"):
        start(node)
    # An instance that had addresses is started with these.
    assert node.app("web").env == {"DB": "{addresses:db}"}
