"""A published instance is registered again as it is defined now, or as it was before."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace

import pytest
from saltdeploy.core import scriptchecks
from saltdeploy.core.errors import Failed
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import CheckRestart, Probe, Registration
from saltdeploy.discovery import registration
from saltdeploy.node import registrationfiles, registrations, reweigh, watching
from saltdeploy.system.probes.base import ProbeFailed
from saltdeploy.system.probes.scriptprobe import Script

from tests.support.onenode import make_node, serves, start


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def define(node, **changes):
    node.environment.apps["web"] = replace(node.environment.apps["web"], **changes)


def tags(node, one):
    return node.discovery.services[one].tags


def outdated(node):
    return {i.id: i.outdated for i in node.inventory.observe("web").instances}


def test_it_gets_what_its_definition_says_now_and_runs_on(node):
    [one] = serves(node)
    assert outdated(node) == {one: ""}
    define(node, service=Registration(("blue",), {"team": "red"}))
    assert outdated(node) == {one: "tags, meta"}
    assert registrations.register_again(node, "web", [one], "d2") == [one]
    assert tags(node, one) == ("e", "1.0", "blue") and node.runtime.up == {one}
    assert outdated(node) == {one: ""}


def test_a_second_name_comes_and_goes_without_a_restart(node):
    [one] = serves(node)
    also = f"{one}_named"
    define(node, service=Registration(("blue",), name="front"))
    assert outdated(node) == {one: "name"}
    registrations.register_again(node, "web", [one], "d2")
    assert (node.discovery.services[also].name, tags(node, also), tags(node, one)) == (
        "front",
        ("e", "1.0", "blue"),
        ("e", "1.0"),
    )
    define(node, service=Registration(name="back"))
    registrations.register_again(node, "web", [one], "d3")
    assert (node.discovery.services[also].name, tags(node, also)) == ("back", ("e", "1.0"))
    # As it was before, and before that it had none.
    registrations.register_again(node, "web", [one], after="d3", back=True)
    assert (node.discovery.services[also].name, tags(node, also)) == ("front", ("e", "1.0", "blue"))
    define(node, service=Registration())
    registrations.register_again(node, "web", [one], "d4")
    assert also not in node.discovery.services and outdated(node) == {one: ""} and node.runtime.up == {one}
    registrations.register_again(node, "web", [one], after="d4", back=True)
    assert node.discovery.services[also].name == "front"


def test_it_gets_back_what_it_had_before_that_deployment(node):
    [one] = serves(node)
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d2")
    define(node, service=Registration(("green",)))
    registrations.register_again(node, "web", [one], "d3")
    registrations.register_again(node, "web", [one], "d3")  # a second step of the same deployment
    assert registrations.register_again(node, "web", [one], after="d3", back=True) == [one]
    assert tags(node, one) == ("e", "1.0", "blue")
    # Where the step of a deployment never came, nothing goes back.
    assert registrations.register_again(node, "web", [one], after="d4", back=True) == [one]
    assert tags(node, one) == ("e", "1.0", "blue")


def test_a_registration_that_is_brought_back_has_the_requests_of_its_checks(node):
    """They may hold a login."""
    [one] = serves(node)
    asked = Probe("http", "/health", request=Request(headers={"X-Token": "hunter2"}), failures_before_critical=2)
    service = registration.of(node.app("web"), node.select("web", [one])[0], "e", node.host.key)
    registrationfiles.keep(node.host, one, [replace(service, checks=(asked,))])
    registrations.register_again(node, "web", [one], "d2")
    published = []
    node.discovery.publish = published.append
    registrations.register_again(node, "web", [one], after="d2", back=True)
    assert [found.checks for found in published] == [(asked,)]


def test_a_registration_that_was_not_kept_is_told_and_the_others_are_brought_back(node):
    """An older saltdeploy kept none."""
    serves(node)
    one, other = sorted(serves(node))
    (node.host.instances.folder(one) / ".registered").unlink()
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one, other], "d2")
    with pytest.raises(Failed, match=f"the registration before was not kept, so it cannot be brought back: {one}. Put"):
        registrations.register_again(node, "web", [one, other], after="d2", back=True)
    assert tags(node, one) == ("e", "1.0", "blue") and tags(node, other) == ("e", "1.0")


def test_another_weight_changes_nothing_else_and_stays(node):
    [one] = serves(node)
    define(node, service=Registration(("blue",)), checks=(Probe("http", "/health", port=9),))
    assert reweigh.weigh(node, "web", {one: 100}) == [one]
    assert (tags(node, one), node.discovery.services[one].weight) == (("e", "1.0"), 100)
    assert outdated(node) == {one: "tags, checks"}
    define(node, checks=())
    registrations.register_again(node, "web", [one], "d2")
    reweigh.weigh(node, "web", {one: 25600})
    registrations.register_again(node, "web", [one], after="d2", back=True)
    assert (tags(node, one), node.discovery.services[one].weight) == (("e", "1.0"), 25600)


def test_clients_get_it_before_the_step_ends(node, monkeypatch):
    [one] = serves(node)
    define(node, service=Registration(("blue",)))
    old = node.discovery.instances("web")
    monkeypatch.setattr(node.discovery, "wait", lambda name, until, deadline: until(old))
    with pytest.raises(Failed, match=f"clients do not get the new registration within 60s: {one}"):
        registrations.register_again(node, "web", [one], "d2")


def test_an_instance_that_is_withdrawn_meanwhile_is_not_compared(node, monkeypatch):
    [one] = serves(node)
    both = iter([dict(node.discovery.services), {}, {}])
    monkeypatch.setattr(node.discovery, "registered", lambda: next(both))
    assert outdated(node) == {one: ""}


def test_a_check_that_does_not_pass_is_told_and_nothing_is_registered(node):
    [one] = serves(node)
    define(node, service=Registration(("blue",)), checks=(Probe("http", "/health", port=9),))
    with pytest.raises(
        Failed, match=rf"{one}: check `http /health`: GET http://127.0.0.1:9/health: connection refused"
    ):
        registrations.register_again(node, "web", [one], "d2")
    assert tags(node, one) == ("e", "1.0")


def test_a_dry_run_changes_nothing(node):
    [one] = serves(node)
    define(node, service=Registration(("blue",)))
    assert registrations.register_again(node, "web", [one], "d2", test=True) == [one]
    assert tags(node, one) == ("e", "1.0")


def test_a_candidate_is_not_published_by_it(node):
    (node.host.releases.path("web", "1.0") / "good").mkdir()
    result = start(node)
    ids = [i.id for i in result.instances]
    assert registrations.register_again(node, "web", ids, "d2") == []
    assert set(node.discovery.services) == {f"{i}_candidate" for i in ids}


def test_the_files_of_a_registration_are_for_root_only(node):
    [one] = serves(node)
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d2")
    folder = node.host.instances.folder(one)
    for path in (folder / ".registered", folder / ".registered-before", node.host.root / ".key"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_without_its_key_a_node_registers_all_again(node):
    [one] = serves(node)
    (node.host.root / ".key").unlink()
    assert outdated(node) == {one: "checks"}


# -- checks that discovery or a watcher runs ---------------------------------------------------------


def script(command):
    return Probe("script", command, interval=1.0)


def watched(node, one):
    """Return the commands of the scripts that the watcher of an instance runs."""
    content = json.loads((node.host.instances.folder(one) / ".watching.json").read_text())
    return sorted(" ".join(about["command"]) for about in content["scripts"].values())


@pytest.fixture
def watcher(node, monkeypatch):
    """Stand for the watcher of the only instance: it runs the scripts of its file. Return what it was asked."""
    asked = []

    def ask(self, probe, values, env, user):
        content = json.loads((node.host.instances.folder("web_1.0_0") / ".watching.json").read_text())
        asked.append(probe.target)
        if scriptchecks.key(probe) not in content["scripts"]:
            raise ProbeFailed("there is no such script", status=404)
        code = subprocess.run(content["scripts"][scriptchecks.key(probe)]["command"], check=False).returncode
        if code:
            raise ProbeFailed(f"ended with {code}", status={1: 429}.get(code, 500))
        return ""

    monkeypatch.setattr(Script, "ask", ask)
    return asked


def test_a_changed_script_is_given_to_the_watcher_that_is_there(node, watcher):
    [one] = serves(node)
    define(node, checks=(script("true {node}"),))
    assert outdated(node) == {one: "checks"}
    registrations.register_again(node, "web", [one], "d2")
    assert watched(node, one) == ["true a"] and outdated(node) == {one: ""}
    # Only its arguments change, which discovery does not know.
    define(node, checks=(script("true {app}"),))
    assert outdated(node) == {one: "checks"}
    registrations.register_again(node, "web", [one], "d3")
    assert watched(node, one) == ["true web"]
    registrations.register_again(node, "web", [one], after="d3", back=True)
    assert watched(node, one) == ["true a"] and node.runtime.up == {one}


def test_other_restarts_are_given_to_the_watcher_too(node):
    [one] = serves(node)
    define(node, check_restart=CheckRestart())
    assert outdated(node) == {one: "checks"}
    registrations.register_again(node, "web", [one], "d2")
    define(node, check_restart=CheckRestart(after=9))
    assert outdated(node) == {one: "checks"}


def test_a_watcher_that_lost_its_file_is_left_alone(node):
    """Its instance was started by an older version, and is replaced."""
    [one] = serves(node)
    (node.host.instances.folder(one) / ".watching.json").unlink()
    assert outdated(node) == {one: ""}
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d2")
    registrations.register_again(node, "web", [one], after="d2", back=True)
    assert not (node.host.instances.folder(one) / ".watching.json").exists()


def test_a_script_that_fails_is_not_registered_and_leaves_nothing(node, watcher):
    """The watcher runs it, in the sandbox of the instance, and not this job."""
    [one] = serves(node)
    define(node, checks=(script("sh -c 'exit 1'"),))
    for test in (True, False):
        with pytest.raises(
            Failed, match="nothing is registered: web_1.0_0: check `script sh -c 'exit 1'`: ended with 1"
        ):
            registrations.register_again(node, "web", [one], "d2", test=test)
    assert watched(node, one) == [] and watcher == ["sh -c 'exit 1'"] * 2


def test_a_script_that_warns_keeps_no_other_change_out(node, watcher, tmp_path):
    [one] = serves(node)
    code = tmp_path / "code"
    code.write_text("0")
    define(node, checks=(script(f"sh -c 'exit $(cat {code})'"),))
    registrations.register_again(node, "web", [one], "d2")
    code.write_text("1")
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d3")
    assert tags(node, one) == ("e", "1.0", "blue")
    code.write_text("2")
    define(node, service=Registration(("green",)))
    with pytest.raises(Failed, match="ended with 2"):
        registrations.register_again(node, "web", [one], "d4")


def test_the_scripts_of_both_registrations_run_until_the_other_has_arrived(node, watcher, monkeypatch):
    [one] = serves(node)
    define(node, checks=(script("true a"),))
    registrations.register_again(node, "web", [one], "d2")
    define(node, checks=(script("true b"),))
    seen, publish = [], node.discovery.publish
    monkeypatch.setattr(node.discovery, "publish", lambda s: (seen.append(watched(node, one)), publish(s)))
    registrations.register_again(node, "web", [one], "d3")
    registrations.register_again(node, "web", [one], after="d3", back=True)
    assert seen == [["true a", "true b"]] * 2 and watched(node, one) == ["true a"]


def test_a_full_disk_keeps_no_registration_from_going_back(node, watcher, monkeypatch):
    [one] = serves(node)
    define(node, checks=(script("true a"),), service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d2")

    def full(*args):
        raise Failed("No space left on device")

    monkeypatch.setattr(watching, "write_text", full)
    with pytest.raises(Failed, match="^No space left on device$"):
        registrations.register_again(node, "web", [one], after="d2", back=True)
    assert tags(node, one) == ("e", "1.0")


def test_a_process_that_ended_some_time_ago_is_no_fault_of_the_change(node, monkeypatch):
    """As one that its watcher has restarted."""
    [one] = serves(node)
    monkeypatch.setattr(node.runtime, "processes", lambda one: [os.getpid()])
    assert list(node.find_crashed("web", [one])) == [one]
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d2")
    assert node.find_crashed("web", [one]) == {}
    # From the change on, it is.
    publish = node.discovery.publish
    others = iter([[os.getppid()]])
    node.discovery.publish = lambda s: (
        publish(s),
        setattr(node.runtime, "processes", lambda one: next(others, [os.getppid()])),
    )
    define(node, service=Registration(("green",)))
    registrations.register_again(node, "web", [one], "d3")
    assert list(node.find_crashed("web", [one])) == [one]


GRPC = Probe("grpc", "", interval=0.1, timeout=0.1)


def test_a_new_check_that_only_discovery_runs_passes_before_it_is_registered(node, monkeypatch):
    monkeypatch.setattr(registrations, "LATER", 0.2)
    [one] = serves(node)
    define(node, checks=(GRPC,))
    candidate = f"{one}_candidate"
    node.discovery.found[candidate] = {"grpc": ("critical", "is not serving")}
    with pytest.raises(Failed, match="nothing is registered: web_1.0_0: check `grpc`: is not serving"):
        registrations.register_again(node, "web", [one], "d2")
    assert candidate not in node.discovery.services and outdated(node) == {one: "checks"}
    node.discovery.found[candidate] = {"grpc": ("passing", "")}
    registrations.register_again(node, "web", [one], "d2")
    assert node.discovery.proved[candidate] is False and candidate not in node.discovery.services
    assert outdated(node) == {one: ""}
    # A check that is registered already is not run again for another tag.
    node.discovery.found.clear()
    define(node, service=Registration(("blue",)))
    registrations.register_again(node, "web", [one], "d3")
    assert tags(node, one) == ("e", "1.0", "blue")


def test_an_instance_does_not_lose_the_check_that_it_reports_to(node, monkeypatch):
    """The candidate would take it over."""
    monkeypatch.setattr(registrations, "LATER", 0.0)
    [one] = serves(node)
    ttl = Probe("ttl", "", interval=0.1, timeout=0.0)
    define(node, checks=(ttl,))
    with pytest.raises(Failed, match="check `ttl`: no report of the app has come"):
        registrations.register_again(node, "web", [one], "d2")
    node.discovery.found[f"{one}_candidate"] = {"ttl": ("passing", "")}
    registrations.register_again(node, "web", [one], "d2")
    node.discovery.found.clear()
    node.discovery.proved.clear()
    define(node, checks=(replace(ttl, interval=9.0),))
    registrations.register_again(node, "web", [one], "d3")
    assert node.discovery.proved == {one: True}
