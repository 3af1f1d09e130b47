"""What is on a node, by its files, its supervisor, its agent and its ports."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable
from saltdeploy.core.model import Stop
from saltdeploy.node import publication, retirement

from tests.support.onenode import break_record, make_node, may_pass, registered, serves, start, there


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def test_an_id_of_ours_is_ours_also_where_somebody_registered_it_by_hand(node):
    [one] = serves(node)
    registered(node, one)
    assert [i.published for i in node.inventory.observe("web").instances] == [True]
    assert retirement.stop(node, "web", [one], drain=0) == [one] and node.discovery.services == {}


def test_an_instance_has_the_time_to_stop_that_it_was_started_with(node):
    """The definition may be another one by now."""
    [one] = serves(node)
    before = node.patience("web")
    node.runtime.stop_of = lambda one: Stop("QUIT", 600.0)
    assert node.inventory.observe("web").stop_timeouts == {one: 600.0}
    assert node.patience("web") - before == 2 * (600 - Stop.timeout)
    node.runtime.stop_of = lambda one: Stop("QUIT", 1e9)  # somebody has changed the unit
    assert node.inventory.observe("web").stop_timeouts == {one: 3600.0}


def strays(node):
    return [i.id for i in node.inventory.observe("web").instances if not i.recorded]


def test_of_what_has_no_record_only_what_is_this_environment_s_is_an_instance(node):
    """Also where it was registered when this minion had another name."""
    registered(node, "web_1.0_1")
    registered(node, "web_1.0_2", minion="a", environment="e", app="web")
    registered(node, "web_1.0_3", minion="b", environment="e", app="web")
    registered(node, "web_1.0_4", minion="a", environment="other", app="web")
    # Made up to be taken for ours.
    registered(node, "blog_1.0_5", app="web")
    registered(node, "legacy", app="web")
    assert strays(node) == ["web_1.0_1", "web_1.0_2", "web_1.0_3"]


def test_what_nobody_defines_any_more_can_be_seen_stopped_and_removed(node):
    [one] = serves(node)
    node.environment.apps.clear()
    assert [i.id for i in node.inventory.observe("web").instances] == [one]
    assert retirement.stop(node, "web", drain=0) == [one] and there(node) == set()
    assert node.host.releases.remove("web", "1.0") and node.host.releases.versions("web") == []


def test_apps_without_a_definition_are_named(node):
    [one] = serves(node)
    assert node.inventory.find_undefined() == []
    registered(node, "old_1.0_5", app="old", environment="e")
    registered(node, "other_1.0_5", app="other", environment="another")
    registered(node, "x", app="../x", environment="e")
    del node.environment.apps["web"]
    assert node.inventory.find_undefined() == ["old", "web"] and there(node) == {one}


def test_what_is_broken_is_told_and_can_be_stopped(node):
    may_pass(node)
    start(node)
    break_record(node, "web_1.0_0")
    node.host.releases.path("web", "0.9").symlink_to(".0.9@gone/files")
    seen = node.inventory.observe("web")
    assert strays(node) == ["web_1.0_0"]
    assert [text.partition(":")[0] for text in seen.warnings] == ["web_1.0_0 is broken", "web 0.9 is broken"]
    assert seen.releases == ["1.0"]
    assert retirement.stop(node, "web", ["web_1.0_0"], drain=0) == ["web_1.0_0"]
    assert there(node) == set() and strays(node) == [] == node.inventory.observe("web").warnings[1:]


def test_what_the_supervisor_has_and_no_record_says_is_stopped_like_a_ghost(node):
    node.runtime.up |= {"web_1.0_7", "till_1.0_7"}
    assert strays(node) == ["web_1.0_7"]
    retirement.stop(node, "web", ["web_1.0_7"], drain=0)
    assert node.runtime.up == {"till_1.0_7"}


def test_what_is_not_enforced_is_told(node):
    node.environment.apps["web"] = replace(node.app("web"), memory="512M")
    assert node.inventory.observe("web").warnings == ["nobody does not enforce apps:web:resources:memory."]


def seen(node):
    """Return what the node says that it has: id -> (running, tested, published, recorded)."""
    found = node.inventory.observe("web").instances
    return {i.id: (i.running, i.tested, i.published, i.recorded) for i in found}


@pytest.fixture
def serving(node):
    """The node with an instance that is published."""
    may_pass(node)
    assert start(node).ok
    publication.publish(node, "web")
    return node


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_what_has_lost_its_file_serves_and_is_stopped_with_all_that_is_left(serving, lost):
    folder = serving.host.instances.folder("web_1.0_0")
    shutil.rmtree(folder) if lost == "folder" else (folder / "instance.json").unlink()
    assert seen(serving) == {"web_1.0_0": (True, False, True, False)}
    may_pass(serving)
    # Its number is taken, so another release of it, or the same, comes beside it.
    assert [i.id for i in start(serving).instances] == ["web_1.0_1"]
    assert retirement.stop(serving, "web", ["web_1.0_0"], drain=0) == ["web_1.0_0"]
    assert serving.runtime.up == {"web_1.0_1"} and list(serving.discovery.services) == ["web_1.0_1_candidate"]
    assert not folder.exists()


def test_what_discovery_has_and_neither_listens_nor_runs_is_dead(serving):
    shutil.rmtree(serving.host.instances.folder("web_1.0_0"))
    serving.runtime.up.clear()
    assert seen(serving) == {"web_1.0_0": (False, False, True, False)}


def test_a_foreign_process_on_the_port_of_a_dead_instance_is_not_that_instance(serving, monkeypatch):
    [one] = serving.host.instances.recorded()
    serving.runtime.up.clear()
    with socket.create_server((one.address, 0)) as listener:
        port = listener.getsockname()[1]
        listed = replace(one, id=f"web_1.0_{port}", slot=port, port=port)
        serving.host.instances.folder(listed.id).mkdir()
        serving.host.instances.save(listed)
        serving.discovery.services[listed.id] = serving.discovery.services[one.id]
        assert seen(serving)[listed.id] == (False, True, True, True)
        monkeypatch.chdir(serving.host.root / "web")
        assert seen(serving)[listed.id] == (True, False, True, True)


def test_what_only_the_supervisor_has_serves_nobody(serving):
    shutil.rmtree(serving.host.instances.folder("web_1.0_0"))
    serving.discovery.services.clear()
    assert seen(serving) == {"web_1.0_0": (True, False, False, False)}


def test_a_copy_from_another_machine_is_stopped_here_and_nowhere_else(serving):
    """Its file names that machine, and so does the catalog: it is not waited for."""
    there = json.loads((serving.host.instances.folder("web_1.0_0") / "instance.json").read_text())
    copy = serving.host.instances.folder("web_1.0_7")
    copy.mkdir()
    (copy / "instance.json").write_text(json.dumps({**there, "id": copy.name, "slot": 7, "node": "b"}))
    elsewhere = SimpleNamespace(id=copy.name, minion="b", address="127.0.0.2")
    serving.discovery.wait = lambda name, until, deadline: until([elsewhere])
    assert seen(serving)[copy.name] == (False, False, False, False)
    assert retirement.stop(serving, "web", [copy.name], drain=0) == [copy.name]
    assert seen(serving) == {"web_1.0_0": (True, True, True, True)} and not copy.exists()


def test_a_registration_under_another_name_of_this_node_is_waited_for(serving):
    shutil.rmtree(serving.host.instances.folder("web_1.0_0"))
    renamed = SimpleNamespace(id="web_1.0_0", minion="old", address="127.0.0.1")
    serving.discovery.wait = lambda name, until, deadline: until([renamed])
    with pytest.raises(DiscoveryUnavailable, match="web_1.0_0: still in the catalog"):
        retirement.stop(serving, "web", ["web_1.0_0"], drain=0)
    assert serving.runtime.up == {"web_1.0_0"}


def test_a_registration_without_our_meta_is_ours_on_our_own_agent(serving):
    serving.discovery.services["web_1.0_0"].meta = {}
    assert seen(serving) == {"web_1.0_0": (True, True, True, True)}
    retirement.stop(serving, "web", ["web_1.0_0"], drain=0)
    assert serving.discovery.services == {}


def test_what_listens_on_an_address_that_the_node_has_no_more_is_not_kept(serving):
    record = serving.host.instances.folder("web_1.0_0") / "instance.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "address": "127.0.0.9"}))
    assert seen(serving) == {"web_1.0_0": (True, False, True, True)}


def test_data_is_told_once_there_is_some(node, tmp_path):
    app = node.app("web")
    assert node.inventory.observe("web").data == ""
    node.environment.apps["web"] = replace(app, data=True)
    folder = node.host.data.path(node.app("web"))
    may_pass(node)
    assert start(node).ok and node.inventory.observe("web").data == ""
    (folder / "state").write_text("1")
    assert node.inventory.observe("web").data == str(folder)
    assert f"export DATA={folder}\n" in (node.host.instances.folder("web_1.0_0") / "start").read_text()
