"""What one node does with instances it starts: what is left of those that fail, and what is told of them."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, Refused
from saltdeploy.core.model import PortRange, Probe, Stop
from saltdeploy.discovery import Endpoint, registration
from saltdeploy.node import readiness, restoration, statestart, superseded
from saltdeploy.node.lifecycle import Lifecycle
from saltdeploy.node.turns import RESTORED, STATE
from saltdeploy.runtime import State

from tests.support.apps import Archives

# Passes for one instance, while `good` is there.
TEST = {"command": "rmdir good"}


class Runtime:
    """Stands for a supervisor: whatever it starts is up at once."""

    lacks, name = ("memory", "cpu"), "nobody"

    def __init__(self):
        self.up, self.broken = set(), False

    def start(self, unit):
        if self.broken:
            raise Failed("supervisord does not answer")
        self.up.add(unit.id)

    def stop_of(self, one):
        return Stop()

    def stop(self, one):
        self.up.discard(one)
        return False

    def forget(self, one):
        pass

    def processes(self, one):
        return []

    def states(self):
        return {i: State(running=True, failed=False, detail="") for i in self.up}

    def logs(self, unit, lines, most):
        return "no database"


class Discovery:
    """Stands for a node's agent."""

    def __init__(self):
        self.services, self.keys, self.elsewhere, self.locked = {}, {}, [], None

    def publish(self, service):
        about = {"address": service.address, "port": service.port or 0, "meta": service.meta}
        self.services[service.id] = SimpleNamespace(id=service.id, weight=1, **about)

    def withdraw(self, one):
        self.services.pop(one, None)

    def registered(self):
        return dict(self.services)

    def unmeasured(self, ids):
        return []

    def wait(self, name, until, deadline):
        return until([])

    def read(self, key):
        return self.keys.get(key), 1, self.locked

    def instances(self, name, passing=False):
        mine = [
            Endpoint(i, name, "a", "", 0, meta={"minion": "a"}) for i in self.services if not i.endswith("candidate")
        ]
        return [*mine, *self.elsewhere]


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The Lifecycle of a node with release 1.0 of an app without ports, that nothing can be asked of."""
    monkeypatch.setattr(readiness, "SETTLE", 0.0)
    monkeypatch.setattr(registration, "_running", lambda instance: ())
    archives = Archives(tmp_path / "archives")
    archives.make("1.0")
    app = {**archives.app(), "run": "sleep 60", "checks": [], "tests": [TEST]}
    del app["ports"]
    environment = {"nodes": {"a": {"address": "127.0.0.1"}}, "apps": {"web": {"version": "1.0"}}}
    pillar = {"apps": {"web": app}, "environments": {"e": environment}}
    made = Lifecycle("a", pillar, {"root": str(tmp_path / "srv")}, None, None)
    made._runtime, made._discovery = Runtime(), Discovery()
    made.install("web", "1.0")
    return made


def start(node, count=1):
    return statestart.start(node, "web", "1.0", count, STATE, held=True)


def there(node):
    return {i.id for i in node.host.instances.recorded()} | node.runtime.up


def may_pass(node):
    (node.host.releases.path("web", "1.0") / "good").mkdir()


def test_of_what_fails_for_a_state_nothing_is_left_however_often(node):
    for _ in range(10):
        result = start(node, 2)
        assert not result.ok and result.instances == [] and there(node) == set()
        assert [text.split(":")[0] for text in result.failures] == ["web_1.0_0", "web_1.0_1"]
        for text in result.failures:
            assert "test `command rmdir good` failed: " in text and text.endswith("\nits last lines:\nno database")


def test_the_output_of_an_instance_and_of_its_tests_is_told_without_the_values_of_env(node):
    app = node.environment.apps["web"]
    tests = (Probe("command", "sh -c 'echo as $WHO in $DB; exit 1'"),)
    node.environment.apps["web"] = replace(app, env={"WHO": "hunter2", "DB": "database"}, tests=tests)
    [failure] = start(node).failures
    assert "ended with 1: as *** in ***\n" in failure and failure.endswith("\nits last lines:\nno ***")


def test_what_passes_beside_it_stays(node):
    may_pass(node)
    result = start(node, 2)
    assert not result.ok and [i.id for i in result.instances] == ["web_1.0_0"]
    assert there(node) == {"web_1.0_0"} and list(node.discovery.services) == ["web_1.0_0_candidate"]
    assert start(node).failures and there(node) == {"web_1.0_0"}


def test_what_cannot_be_started_for_a_state_leaves_no_folder(node):
    node.runtime.broken = True
    with pytest.raises(Failed, match="supervisord does not answer"):
        start(node)
    assert there(node) == set()


def test_what_a_killed_state_has_left_goes_with_the_next(node):
    node.start("web", "1.0", 1, STATE, held=True)
    assert there(node) == {"web_1.0_0"}
    may_pass(node)
    assert start(node).ok and there(node) == {"web_1.0_1"}


def test_what_died_later_goes_with_the_next(node):
    may_pass(node)
    assert start(node).ok
    node.runtime.up.clear()
    may_pass(node)
    assert start(node).ok and there(node) == {"web_1.0_1"}


def test_what_somebody_has_started_stays_to_be_looked_at(node):
    result = node.start("web", "1.0", 1, "manual", held=True)
    assert not result.ok
    start(node)
    assert there(node) == {"web_1.0_0"}


def test_for_a_state_is_started_again_after_all_of_it_was_stopped(node):
    may_pass(node)
    assert start(node).ok
    assert node.stop("web", deployment=STATE, drain=0) == ["web_1.0_0"]
    may_pass(node)
    assert start(node).ok


# -- what the agent has -----------------------------------------------------------------------


def registered(node, one, **meta):
    node.discovery.services[one] = SimpleNamespace(id=one, address="127.0.0.1", port=0, meta=meta, weight=1)


def serves(node, deployment="d1"):
    """Have the node publish an instance."""
    may_pass(node)
    node.start("web", "1.0", 1, deployment, held=True)
    return node.publish("web", weight=25600)


def test_an_id_of_ours_is_ours_also_where_somebody_registered_it_by_hand(node):
    [one] = serves(node)
    registered(node, one)
    assert [i.published for i in node.inventory.observe("web").instances] == [True]
    assert node.stop("web", [one], drain=0) == [one] and node.discovery.services == {}


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
    assert node.stop("web", drain=0) == [one] and there(node) == set()
    assert node.host.releases.remove("web", "1.0") and node.host.releases.versions("web") == []


def test_a_job_that_slept_while_its_deployment_ended_registers_nothing(node, monkeypatch):
    may_pass(node)
    monkeypatch.setattr(node, "_failed_tests", lambda app, instance: node.host.turns.end("web", "d1") or [])
    with pytest.raises(Failed, match="Refused on a: deployment d1 of web has ended there"):
        node.start("web", "1.0", 1, "d1")
    assert node.discovery.services == {}


# -- what the record says ---------------------------------------------------------------------


def recorded(node, **nodes):
    record = {"version": "2.0", "deployment": "d2", "time": 1.0, "nodes": nodes}
    node.discovery.keys["deploy/e/web/current"] = record
    node.discovery.elsewhere = [
        Endpoint(i, "web", "b", "", 0, meta={"minion": n}) for n, ids in nodes.items() if n != "a" for i in ids
    ]
    return record


def test_what_came_back_with_an_old_release_is_retired_once_others_serve(node):
    [one] = serves(node)
    recorded(node, b=["web_2.0_0"])
    assert superseded.find(node, "web") == [one]
    assert superseded.retire(node, "web") == [one] and there(node) == set()


def test_a_minion_that_was_renamed_retires_nothing(node):
    """Its own instance is in the record and in discovery under its old name, at its own address."""
    [one] = serves(node)
    recorded(node, old=[one])
    node.discovery.elsewhere = [replace(e, address=node.node.address) for e in node.discovery.elsewhere]
    assert superseded.find(node, "web") == [] and there(node) == {one}


@pytest.mark.parametrize("version, deployment", [("1.0", "d9"), ("2.0", "d1")])
def test_the_recorded_release_and_the_recorded_deployment_are_not_retired(node, version, deployment):
    """…as of a node that was left out because it was silent, or of a run that was killed before it wrote all."""
    [one] = serves(node)
    recorded(node, b=[f"web_{version}_0"])["deployment"] = deployment
    assert superseded.find(node, "web") == [] and there(node) == {one}


@pytest.mark.parametrize(
    "why", ["locked", "paused", "frozen", "recorded", "warm", "only here", "not found", "by hand", "junk"]
)
def test_what_may_be_needed_is_not_retired(node, why):
    [one] = serves(node, "manual" if why == "by hand" else "d1")
    record = recorded(node, **{"a" if why == "only here" else "b": ["web_2.0_0"]})
    about = {"by": "me", "reason": "", "since": 1.0}
    if why == "locked":
        node.discovery.locked = "session"
    elif why == "paused":
        record["paused"] = {**about, "from": "1.0", "before": 1, "instances": 1, "nodes": ["b"]}
    elif why == "frozen":
        record["frozen"] = {**about, "version": "2.0", "why": "x", "deployment": "d2"}
    elif why == "recorded":
        record["nodes"]["a"] = [one]
    elif why == "warm":
        record["warm"] = {"until": 1.0, "nodes": {"a": [one]}}
    elif why == "not found":
        node.discovery.elsewhere = []
    elif why == "junk":
        record["nodes"]["b"].append("../x")
    assert superseded.find(node, "web") == superseded.retire(node, "web") == []
    assert there(node) == {one}


def test_one_bad_id_in_the_record_keeps_no_good_one_from_being_restored(node):
    [one] = serves(node)
    node.runtime.up.clear()
    recorded(node, a=["../x", one, 5, "blog_1_1"])
    assert restoration.missing(node, "web") == ([one], "")
    may_pass(node)
    assert restoration.restore(node, "web", [one]) == [one]
    assert node.host.instances.recorded("web")[0].deployment == RESTORED


@pytest.mark.parametrize("lost", ["", "{"])
def test_an_instance_that_serves_without_its_record_is_left_to_a_deployment(node, lost):
    """Highstate would cut its requests: it has no other one to serve meanwhile."""
    [one] = serves(node)
    recorded(node, a=[one])
    (node.host.instances.folder(one) / "instance.json").write_text(lost)
    assert restoration.missing(node, "web") == ([], "") and restoration.restore(node, "web", [one]) == []
    [warning] = restoration.warnings(node, "web")
    assert warning.startswith(f"{one} serves on a") and "salt-run deploy.app web env=e replaces it" in warning
    assert there(node) == {one}


def test_an_app_is_not_restored_without_its_data(node, tmp_path):
    folder = tmp_path / "far/data"
    node.environment.apps["web"] = replace(node.app("web"), data=str(folder))
    with pytest.raises(Failed, match=rf"web_1\.0_0 is not restored on a: its data folder {folder} is gone"):
        restoration.restore(node, "web", ["web_1.0_0"])
    folder.mkdir(parents=True)
    may_pass(node)
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]


def test_apps_without_a_definition_are_named(node):
    [one] = serves(node)
    assert node.inventory.find_undefined() == []
    registered(node, "old_1.0_5", app="old", environment="e")
    registered(node, "other_1.0_5", app="other", environment="another")
    registered(node, "x", app="../x", environment="e")
    del node.environment.apps["web"]
    assert node.inventory.find_undefined() == ["old", "web"] and there(node) == {one}


def test_a_record_brings_nothing_to_a_port_that_its_app_does_not_have(node):
    node.environment.apps["web"] = replace(node.app("web"), ports=PortRange(20000, 20009))
    with pytest.raises(
        Failed, match=r"web_1\.0_22 is not restored on a: its port is none of apps:web:ports \(20000-20009\)"
    ):
        restoration.restore(node, "web", ["web_1.0_22"])
    assert there(node) == set()
    with pytest.raises(Refused):
        restoration._refuse_slot(node, "web", "web_1.0_19999", 19999)
    restoration._refuse_slot(node, "web", "web_1.0_20000", 20000)


def break_record(node, instance):
    (node.host.instances.folder(instance) / "instance.json").write_text("")


def test_what_is_broken_is_told_and_can_be_stopped(node):
    may_pass(node)
    start(node)
    break_record(node, "web_1.0_0")
    node.host.releases.path("web", "0.9").symlink_to(".0.9@gone/files")
    seen = node.inventory.observe("web")
    assert strays(node) == ["web_1.0_0"]
    assert [text.partition(":")[0] for text in seen.warnings] == ["web_1.0_0 is broken", "web 0.9 is broken"]
    assert seen.releases == ["1.0"]
    assert node.stop("web", ["web_1.0_0"], drain=0) == ["web_1.0_0"]
    assert there(node) == set() and strays(node) == [] == node.inventory.observe("web").warnings[1:]


def test_all_instances_are_those_that_are_broken_too(node):
    may_pass(node)
    start(node)
    break_record(node, "web_1.0_0")
    assert node.stop("web", drain=0) == ["web_1.0_0"]


def test_what_the_supervisor_has_and_no_record_says_is_stopped_like_a_ghost(node):
    node.runtime.up |= {"web_1.0_7", "till_1.0_7"}
    assert strays(node) == ["web_1.0_7"]
    node.stop("web", ["web_1.0_7"], drain=0)
    assert node.runtime.up == {"till_1.0_7"}


def test_what_is_not_enforced_is_told(node):
    node.environment.apps["web"] = replace(node.app("web"), memory="512M")
    assert node.inventory.observe("web").warnings == ["nobody does not enforce apps:web:resources:memory."]


def test_what_cannot_be_recorded_is_withdrawn_all_the_same(node, monkeypatch):
    may_pass(node)
    start(node)
    node.publish("web")

    def save(instance):
        raise Failed("instance.json: Read-only file system.")

    monkeypatch.setattr(node.host.instances, "save", save)
    with pytest.raises(Failed, match="Read-only file system"):
        node.withdraw("web")
    assert list(node.discovery.services) == ["web_1.0_0_candidate"]


def test_what_cannot_be_ended_keeps_its_place_and_the_others_go(node, monkeypatch):
    may_pass(node)
    start(node)
    may_pass(node)
    start(node)
    stop = node.ending.stop

    def fail(instance, *place):
        if instance == "web_1.0_0":
            raise Failed("web_1.0_0: process 7 (serve) does not end")
        return stop(instance, *place) or f"{instance} was killed"

    monkeypatch.setattr(node.ending, "stop", fail)
    with pytest.raises(Failed, match=r"process 7 \(serve\) does not end"):
        node.stop("web", drain=0)
    assert [i.id for i in node.host.instances.recorded()] == ["web_1.0_0"] and node.warnings == ["web_1.0_1 was killed"]


# -- what no file of this node has ------------------------------------------------------------


def seen(node):
    """Return what the node says that it has: id -> (running, tested, published, recorded)."""
    found = node.inventory.observe("web").instances
    return {i.id: (i.running, i.tested, i.published, i.recorded) for i in found}


@pytest.fixture
def serving(node):
    """The node with an instance that is published."""
    may_pass(node)
    assert start(node).ok
    node.publish("web")
    return node


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_what_has_lost_its_file_serves_and_is_stopped_with_all_that_is_left(serving, lost):
    folder = serving.host.instances.folder("web_1.0_0")
    shutil.rmtree(folder) if lost == "folder" else (folder / "instance.json").unlink()
    assert seen(serving) == {"web_1.0_0": (True, False, True, False)}
    may_pass(serving)
    # Its number is taken, so another release of it, or the same, comes beside it.
    assert [i.id for i in start(serving).instances] == ["web_1.0_1"]
    assert serving.stop("web", ["web_1.0_0"], drain=0) == ["web_1.0_0"]
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
    assert serving.stop("web", [copy.name], drain=0) == [copy.name]
    assert seen(serving) == {"web_1.0_0": (True, True, True, True)} and not copy.exists()


def test_a_registration_under_another_name_of_this_node_is_waited_for(serving):
    shutil.rmtree(serving.host.instances.folder("web_1.0_0"))
    renamed = SimpleNamespace(id="web_1.0_0", minion="old", address="127.0.0.1")
    serving.discovery.wait = lambda name, until, deadline: until([renamed])
    with pytest.raises(DiscoveryUnavailable, match="web_1.0_0: still in the catalog"):
        serving.stop("web", ["web_1.0_0"], drain=0)
    assert serving.runtime.up == {"web_1.0_0"}


def test_a_registration_without_our_meta_is_ours_on_our_own_agent(serving):
    serving.discovery.services["web_1.0_0"].meta = {}
    assert seen(serving) == {"web_1.0_0": (True, True, True, True)}
    serving.stop("web", ["web_1.0_0"], drain=0)
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


def test_highstate_does_not_start_an_app_without_the_data_that_it_had(node):
    """A disk that is not mounted, for one."""
    node.environment.apps["web"] = replace(node.app("web"), data=True)
    recorded(node, a=["web_1.0_0"])["data"] = ["a"]
    folder = node.host.data.path(node.app("web"))
    folder.mkdir(parents=True)
    may_pass(node)
    with pytest.raises(Failed, match=rf"web had data there, and {folder} is empty\. .*deploy.app web move=True"):
        restoration.restore(node, "web", ["web_1.0_0"])
    assert there(node) == set()
    (folder / "state").write_text("1")
    assert restoration.restore(node, "web", ["web_1.0_0"]) == ["web_1.0_0"]


def test_highstate_installs_the_content_that_was_deployed_and_no_other(node):
    """A file of digests may name another archive by now."""
    node.host.releases.remove("web", "1.0")
    record, right = recorded(node, a=["web_1.0_0"]), node.app("web").source.sha256["1.0"]
    record["digests"] = {"1.0": "a" * 64}
    with pytest.raises(Failed, match="sha256"):
        restoration.restore(node, "web", ["web_1.0_0"])
    assert there(node) == set() and node.host.releases.versions("web") == []
    record["digests"] = {"1.0": right}
    with pytest.raises(Failed, match="rmdir good"):  # It is installed, and its test fails.
        restoration.restore(node, "web", ["web_1.0_0"])
    assert node.host.releases.versions("web") == ["1.0"]


@pytest.mark.parametrize("after", [None, "d1"])
def test_without_a_word_of_data_in_the_record_or_on_the_way_back_it_starts(node, after):
    node.environment.apps["web"] = replace(node.app("web"), data=True)
    recorded(node, a=["web_1.0_0"])["data"] = ["a"] if after else ["b"]
    node.host.data.path(node.app("web")).mkdir(parents=True)
    may_pass(node)
    assert restoration.restore(node, "web", ["web_1.0_0"], after) == ["web_1.0_0"]
