"""The file that tells a watcher what to do, and the notes that the watcher leaves."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from saltdeploy.core import scriptchecks
from saltdeploy.core.errors import Failed
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import CheckRestart, PortRange, Probe
from saltdeploy.node import watching
from saltdeploy.node.launch import Launch

from tests.support.fleet import instance
from tests.support.onenode import make_node, may_pass, start

SCRIPT = Probe("script", "./check {instance}", timeout=3.0, interval=4.0)


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch, env={"PASSWORD": "hunter2-hunter2"})


def launch(node, **changes):
    app = replace(node.environment.apps["web"], **changes)
    one = replace(instance("a", "1.0", 80), id="web_1.0_80", app="web", address="127.0.0.1", watch=32000)
    return Launch(app, one if app.ports else replace(one, port=None), node.host, "e")


def content(node, **changes):
    return json.loads(watching.text(launch(node, **changes)))


def test_without_scripts_and_restarts_there_is_nothing_to_do_and_no_secret(node):
    found = content(
        node, checks=(Probe("http", "/", request=Request(headers={"X": "secret"})),), ports=PortRange(80, 80)
    )
    assert found == {"folder": found["folder"], "env": {}, "scripts": {}, "checks": [], "restart": None}


def test_scripts_are_filled_in_and_have_the_environment_of_the_instance(node):
    found = content(node, checks=(Probe("ttl", ""), SCRIPT))
    folder = str(node.host.instances.folder("web_1.0_80"))
    assert found["scripts"] == {
        scriptchecks.key(SCRIPT): {"command": ["./check", folder], "timeout": 3.0, "interval": 4.0}
    }
    assert found["env"]["PASSWORD"] == "hunter2-hunter2" and found["env"]["SALTDEPLOY_INSTANCE"] == folder
    assert found["env"]["CONSUL_CHECK_ID"] == "web_1.0_80:ttl" and "PATH" in found["env"]


def test_restarts_have_the_checks_that_a_watcher_can_run(node):
    asked = Request(host="a:1", method="HEAD", headers={"X": "y"}, body="z", insecure=True)
    checks = (
        Probe("http", "/h"),
        Probe("https", "/s", request=asked, failures_before_critical=4),
        Probe("tcp", ""),
        Probe("grpc", ""),
        SCRIPT,
    )
    found = content(node, checks=checks, check_restart=CheckRestart(4, 5.0, 6), ports=PortRange(80, 80))
    assert [check["name"] for check in found["checks"]] == ["http /h", "https /s", "tcp", "script ./check"]
    plain, secure, _, script = found["checks"]
    # Consul follows the redirects of a check that is a path alone.
    assert (plain["redirects"], secure["redirects"], plain["port"]) == (True, False, 80)
    usual = {"Connection": "close", "User-Agent": "saltdeploy"}
    keys = ("method", "headers", "body", "insecure", "server", "failures")
    assert [secure[key] for key in keys] == ["HEAD", {**usual, "X": "y", "Host": "a:1"}, "z", True, "a", 4]
    assert plain["headers"] == usual
    assert (plain["server"], script["key"]) == ("127.0.0.1", scriptchecks.key(SCRIPT))
    notes = str(node.host.instances.folder("web_1.0_80") / ".restarts")
    assert found["restart"] == {
        "after": 4,
        "grace": 5.0,
        "most": 6,
        "patience": node.environment.apps["web"].strategy.healthy_deadline,
        "signal": 15,
        "timeout": 10.0,
        "notes": notes,
    }


def test_a_path_is_sent_as_a_deployment_sends_it(node):
    asked = Request(headers={"user-agent": "ours"})
    checks = (Probe("http", "/h?a=Köln&b=%20", request=asked),)
    [check] = content(node, checks=checks, check_restart=CheckRestart(), ports=PortRange(80, 80))["checks"]
    assert check["path"] == "/h?a=K%C3%B6ln&b=%20"
    assert check["headers"] == {"Connection": "close", "user-agent": "ours"}


def test_an_app_without_ports_is_not_asked_at_a_port(node):
    assert content(node, checks=(), check_restart=CheckRestart())["checks"] == []


def test_the_port_is_watched_without_any_check(node):
    [check] = content(node, checks=(), check_restart=CheckRestart(), ports=PortRange(80, 80))["checks"]
    assert check["kind"] == "tcp"


def test_the_notes_stay_when_the_file_is_written_again(node):
    made = launch(node)
    made.folder.mkdir(parents=True)
    watching.write(made)
    notes = made.folder / ".restarts"
    assert notes.read_text() == "[]" and notes.stat().st_mode & 0o777 == 0o600
    notes.write_text(json.dumps([[time.time(), "x"]]))
    watching.write(made)
    assert watching.restarts(node.host, "web_1.0_80") == (1, "x")
    assert watching.read(made) == watching.text(made)
    assert (made.folder / ".watching.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text, found",
    [
        ("", (0, "")),
        ("{}", (0, "")),
        ('[[1, "x"], ["a", "b"], [], 5, null]', (0, "")),
        ("[" * 20000, (0, "")),
        ('[[NOW, "a"], [NOW, "b"], [1, "old"]]', (2, "b")),
        ('[[NOW, "' + "x" * 999 + '"]]', (1, "x" * 300)),
        ("[[NOW, {}]]", (1, "{}")),
        ('[[1e999, "x"]]', (0, "")),
    ],
)
def test_the_app_can_write_anything_into_the_notes(node, text, found):
    folder = node.host.instances.folder("web_1.0_80")
    folder.mkdir(parents=True)
    (folder / ".restarts").write_text(text.replace("NOW", str(time.time() - 1)))
    assert watching.restarts(node.host, "web_1.0_80") == found


def test_a_file_that_the_app_made_huge_is_read_in_part(node, monkeypatch):
    made = launch(node)
    made.folder.mkdir(parents=True)
    watching.write(made)
    monkeypatch.setattr(watching, "MOST", 10)
    assert watching.read(made) == watching.text(made)[:10]


def test_a_reason_is_a_text_that_salt_can_send(node):
    folder = node.host.instances.folder("web_1.0_80")
    folder.mkdir(parents=True)
    (folder / ".restarts").write_text(f'[[{time.time()}, "\\ud800"]]')
    assert watching.restarts(node.host, "web_1.0_80") == (1, "?")


def test_a_full_disk_is_told(node):
    with pytest.raises(Failed, match=r"\.watching\.json"):
        watching.write(launch(node))


@pytest.mark.parametrize(
    "content, other, scripts, env",
    [
        ({"scripts": {"a": 1}, "env": {"X": "y"}}, {"scripts": {"b": 2}, "env": {}}, {"a": 1, "b": 2}, {"X": "y"}),
        ({"scripts": {}, "env": {}}, {"scripts": {"b": 2}, "env": {"X": "y"}}, {"b": 2}, {"X": "y"}),
        ({"scripts": {"a": 1}, "env": {}}, {"scripts": {"a": 2}}, {"a": 1}, None),
        ({"scripts": {"a": 1}, "env": {"X": "y"}}, ["nonsense"], {"a": 1}, {"X": "y"}),
        ({"scripts": {"a": 1}, "env": {"X": "y"}}, {"scripts": 7}, {"a": 1}, {"X": "y"}),
    ],
)
def test_two_files_together_have_the_scripts_of_both(content, other, scripts, env):
    found = json.loads(watching.joined(json.dumps(content), json.dumps(other)))
    assert (found["scripts"], found["env"]) == (scripts, env)


def test_a_reason_is_told_without_the_values_of_env(node):
    may_pass(node)
    start(node)
    [one] = node.host.instances.recorded("web")
    assert watching.find_restarts(node, "web") == {}
    why = json.dumps([[time.time(), "script ./check: wrong password hunter2-hunter2"]])
    (node.host.instances.folder(one.id) / ".restarts").write_text(why)
    assert watching.find_restarts(node, "web") == {one.id: [1, "script ./check: wrong password ***"]}
