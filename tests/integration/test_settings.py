"""Changed settings of a release that runs: planned, rolled out, reverted and rolled back as a release would be."""

from __future__ import annotations

import base64

import psutil
import pytest
import requests

from tests.support.site import last_document, until
from tests.support.target import NAME, STRATEGY

pytestmark = [pytest.mark.usefixtures("users"), pytest.mark.settings, pytest.mark.one_wave]
TWO_WAVES = {"waves": STRATEGY["waves"]}
# Each start is another process, and the third node's does not pass its tests.
FAULTY = "sh -c '[ {node} != web3 ] || export TOKEN=x; exec ./bin/serve {address} {port}'"


def processes(target):
    """Return node -> the process of its published instance."""
    where = {(address, port): node for (node, _), (address, port, _) in target.traces().published.items()}
    found = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and tuple(c.laddr) in where]
    return {where[tuple(c.laddr)]: psutil.Process(c.pid) for c in found}


def variables(target, name):
    """Return the values of an environment variable of all published instances, by node."""
    return {node: process.environ().get(name) for node, process in processes(target).items()}


def ids(target):
    """Return node -> id of its published instance."""
    return dict(target.traces().published)


def editions(target):
    """Return the editions that the record names: of the app, and of its instances."""
    record = target.traces().record
    return record["version"], sorted(i for some in record["nodes"].values() for i in some)


def number(target):
    """Return the number of the settings that are deployed."""
    return int(target.traces().record["version"].partition("@")[2] or 0)


def deployed(target, version, changes, *args):
    """Deploy the definition with ``changes``; return the plan of before, and the output."""
    target.define(changes)
    plan = target.run("plan", f"version='{version}'")
    return plan, target.deploy(version, *args)


def test_a_variable_a_secret_and_a_limit_are_rolled_out_and_rolled_back(target, users, releases, folder):
    version, before = releases[0], processes(target)
    target.define({"env": {"LEVEL": "info", "PASSWORD": "hunter2-hunter2"}})
    status = target.run("status")
    assert status.count("settings not as defined (env: LEVEL, PASSWORD)") == 3
    plan = last_document(target.run("plan", f"version='{version}'", "--out=json"))
    changed = [keys for ids in plan["actions"]["settings"].values() for keys in ids.values()]
    assert changed == [{"env": ["LEVEL", "PASSWORD"]}] * 3
    assert "the definition has other settings (env: LEVEL, PASSWORD) than" in plan["plan"][0]
    output = target.deploy(version)
    said = [status, str(plan), output]
    first = number(target)
    assert f"{NAME} {version} (settings {first}) is published in site: 3 instances" in output
    assert variables(target, "LEVEL") == dict.fromkeys(before, "info")
    assert {p.pid for p in processes(target).values()}.isdisjoint({p.pid for p in before.values()})
    assert "not as defined" not in target.run("status")
    again = processes(target)
    assert "was already published, nothing was done" in target.deploy(version)
    assert processes(target) == again

    # Only the secret changes, then only a limit of the process.
    plan, output = deployed(target, version, {"env": {"LEVEL": "info", "PASSWORD": "correct-horse"}})
    said += [plan, output]
    assert "(env: PASSWORD)" in plan
    assert number(target) == first + 1 and set(variables(target, "PASSWORD").values()) == {"correct-horse"}
    settings = {"env": {"LEVEL": "info", "PASSWORD": "correct-horse"}, "stop": {"timeout": "7s"}}
    plan, _ = deployed(target, version, settings)
    assert "(stop: timeout)" in plan and number(target) == first + 2
    history = target.run("history")
    assert f"{version} (settings {first})" in history and f"{version} (settings {first + 2})" in history

    # The settings of before are those of the last deployment, although the definition has not gone back.
    output = target.run("rollback")
    said.append(output)
    assert f"rolled back from {version} (settings {first + 2})" in output
    assert number(target) == first + 1 and set(variables(target, "PASSWORD").values()) == {"correct-horse"}
    assert f"back from {NAME} {version} (settings {first + 1}) to {version} (settings {first})" in target.run(
        "rollback", f"settings={first}"
    )
    assert set(variables(target, "PASSWORD").values()) == {"hunter2-hunter2"}
    assert "nobody knows of such settings" in target.run("rollback", "settings=999", code=3)
    assert_nowhere(target, said, folder / "s", "hunter2-hunter2", "correct-horse")

    # The definition of now is deployed again, with the settings that it had.
    target.deploy(version)
    assert number(target) == first + 2


def assert_nowhere(target, said, salt, *secrets):
    """Raise an AssertionError if a secret left its node: in Consul, in the master's jobs, in what runs said, or in a log.

    :param said: the outputs of the runs.
    :param salt: the folder of all that the master and the minions write: job caches, logs, synced modules.
    """
    keys = target.ask("/v1/kv/?recurse")
    values = [base64.b64decode(key["Value"] or "").decode(errors="replace") for key in keys]
    agents = [requests.get(f"{target.agents.url(n)}/v1/agent/services", timeout=10).text for n in target.agents.nodes]
    texts = [*said, *values, *agents, target.run("history", "--out=json"), target.run("status", "--out=json")]
    files = [path for path in salt.rglob("*") if path.is_file()]
    assert any("jobs" in path.parts for path in files) and any(
        path.suffix == ".log" or "log" in path.name for path in files
    )
    for secret in secrets:
        assert [text for text in texts if secret in text] == []
        # The master has the pillar that it sends, and a minion has what it was sent.
        found = [path for path in files if secret.encode() in path.read_bytes() and "pillar" not in str(path)]
        assert found == [], "a secret is in a file of the master or of a minion"


def test_settings_that_fail_in_the_second_wave_are_reverted_to_those_of_before(target, users, releases):
    """The first wave had retired its old instance already: the restored one has the settings that it had."""
    version = releases[0]
    deployed(target, version, {"env": {"COLOR": "blue"}})
    before = ids(target)
    target.define({"env": {"COLOR": "red"}, "run": FAULTY}, TWO_WAVES)
    output = target.deploy(version, code=1)
    assert "web3" in output and "all is as before" in output
    assert ids(target) == before and set(variables(target, "COLOR").values()) == {"blue"}
    # Nothing of the edit is brought in by other verbs.
    assert "settings not as defined (run; env: COLOR)" in target.run("status")
    target.run("restart")
    assert set(variables(target, "COLOR").values()) == {"blue"}


@pytest.mark.thorough
def test_another_number_of_instances_has_the_deployed_settings_and_not_an_edit(target, users, releases):
    version = releases[0]
    deployed(target, version, {"env": {"COLOR": "green"}})
    there = number(target)
    target.define({"env": {"COLOR": "of-the-edit"}})
    target.run("scale", "instances=4")
    found = [p.environ()["COLOR"] for p in listeners(target)]
    assert found == ["green"] * 4 and number(target) == there
    target.run("scale", "instances=3")
    assert "settings not as defined (env: COLOR)" in target.run("status")


def listeners(target):
    """Return the processes of all instances."""
    where = {(address, port) for address, port, _ in target.traces().published.values()}
    found = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and tuple(c.laddr) in where]
    return [psutil.Process(c.pid) for c in found]


def test_a_template_is_compared_as_it_is_rendered_now(target, users, releases, folder):
    version, template, level = releases[0], folder / "tree" / "shop.ini.jinja", folder / "level"
    try:
        level.write_text("info")
        template.write_text(f"level = {{{{ salt['file.read']('{level}') }}}}\nport = {{{{ port }}}}\n")
        target.define({"config": {"etc/shop.ini": "salt://shop.ini.jinja"}})
        assert "config: etc/shop.ini)" in target.run("plan", f"version='{version}'")
        target.deploy(version)
        first = number(target)
        # The template stays, and what it asks its node has changed.
        level.write_text("debug")
        assert "config: etc/shop.ini)" in target.run("plan", f"version='{version}'")
        target.deploy(version)
        files = [
            target.agents.folder / n / "srv" / NAME / "instances" / i / "etc/shop.ini"
            for n, i in target.traces().published
        ]
        assert number(target) == first + 1 and {f.read_text().splitlines()[0] for f in files} == {"level = debug"}
        # A template that is another text each time is named, and never rolled out.
        template.write_text("now = {{ salt['random.get_str'](20) }}\n")
        output = target.deploy(version)
        assert "is another text each time that it is rendered" in output
        assert number(target) == first + 1 and "nothing was done" in output
    finally:
        target.define()
        target.deploy(version)
        template.unlink()


def test_files_that_a_reload_takes_in_change_without_a_restart(target, users, releases, folder):
    version, template, level = releases[0], folder / "tree" / "shop.ini.jinja", folder / "level"
    ini = {"env": {"CONFIG": "{instance}/etc/shop.ini"}, "config": {"etc/shop.ini": "salt://shop.ini.jinja"}}
    changes = {**ini, "reload": {"signal": "HUP", "files": ["etc/shop.ini"]}}
    changes["tests"] = [{"http": {"path": "/config", "contains": "level = "}}]

    def asked():
        where = [f"http://{address}:{port}/config" for address, port, _ in target.traces().published.values()]
        return {requests.get(url, timeout=5).text for url in where}

    try:
        level.write_text("info")
        template.write_text(f"level = {{{{ salt['file.read']('{level}') }}}}\n")
        target.define(changes, TWO_WAVES)
        target.deploy(version)
        before, there, first = processes(target), target.traces(), number(target)
        level.write_text("debug")
        assert target.run("status").count("settings not as defined (config: etc/shop.ini)") == 3
        plan = last_document(target.run("plan", f"version='{version}'", "--out=json"))
        assert [len(ids) for ids in plan["actions"]["reload"]] == [1, 2] and not plan["actions"]["waves"]
        assert "write files of config and reload, without a restart" in plan["plan"][0] and asked() == {
            "level = info\n"
        }
        output = target.deploy(version)
        assert asked() == {"level = debug\n"} and "3 instances" in output
        # The same processes, under the same ids: no settings with another number.
        assert processes(target) == before and target.traces().published == there.published
        assert number(target) == first and "not as defined" not in target.run("status")
        assert "was already published, nothing was done" in target.deploy(version)

        # A file that does not pass the tests goes to the canary only, which has its former file again.
        template.write_text("nonsense\n")
        output = target.deploy(version, code=1)
        assert "after its reload: test `http /config` failed" in output and "all is as before" in output
        assert asked() == {"level = debug\n"} and processes(target) == before
        assert target.run("status").count("settings not as defined (config: etc/shop.ini)") == 3
        # An instance that is lost comes back with the file that it had.
        [(node, lost), *_] = sorted(there.published)
        target.call(node, "app.stop", NAME, f"['{lost}']", "drain=0")
        target.call(node, "state.single", "app.deployed", NAME)
        assert target.traces().published == there.published and asked() == {"level = debug\n"}
    finally:
        template.write_text("level = info\n")
        target.define()
        target.deploy(version)
        template.unlink()


def test_settings_that_wait_for_an_operator_are_the_ones_that_are_promoted(target, users, releases):
    version, strategy = releases[0], {"pause": "manual", **TWO_WAVES}
    deployed(target, version, {"env": {"KIND": "old"}})
    old = number(target)
    target.define({"env": {"KIND": "waiting"}}, strategy)
    assert "is paused after its first wave" in target.deploy(version)
    assert {"old", "waiting"} == {process.environ()["KIND"] for process in listeners(target)}
    # Another edit meanwhile is not what the first wave has shown to be good.
    target.define({"env": {"KIND": "edited meanwhile"}}, strategy)
    assert "has changed since its first wave (env: KIND)" in target.run("promote", code=3)
    target.define({"env": {"KIND": "waiting"}}, strategy)
    target.run("promote")
    assert set(variables(target, "KIND").values()) == {"waiting"} and number(target) > old


def test_an_edit_during_a_deployment_waits_for_the_next(target, users, releases):
    """Somebody else's deployment, or a person, refreshes the pillar of all nodes at any time."""
    target.define({"env": {"KIND": "deployed"}})
    run = target.start(releases[0]).until("healthy  in discovery")
    target.define({"env": {"KIND": "edited"}})
    target.call("*", "saltutil.refresh_pillar", "wait=True")
    run.end(0)
    assert set(variables(target, "KIND").values()) == {"deployed"}
    assert target.run("status").count("settings not as defined (env: KIND)") == 3


@pytest.mark.thorough
def test_a_blue_set_of_settings_is_published_again_by_a_rollback(target, users, releases):
    version = releases[0]
    deployed(target, version, {"env": {"KIND": "blue"}})
    blue, before = number(target), processes(target)
    strategy = {"type": "blue_green", "keep_old": "10m"}
    target.define({"env": {"KIND": "green"}, "strategy": strategy})
    target.deploy(version)
    assert set(variables(target, "KIND").values()) == {"green"}
    target.run("rollback")
    # They had run on, so nothing was started.
    assert number(target) == blue and processes(target) == before
    target.define({"env": {"KIND": "blue"}})
    target.deploy(version)


@pytest.mark.thorough
def test_a_pause_is_taken_back_to_the_settings_of_before(target, users, releases):
    version = releases[0]
    deployed(target, version, {"env": {"KIND": "kept"}})
    before = ids(target)
    target.define({"env": {"KIND": "tried"}}, {"pause": "manual", "canary_weight": "25%", **TWO_WAVES})
    output = target.deploy(version)
    assert "with 25% of the traffic" in output
    target.run("abort")
    assert ids(target) == before and set(variables(target, "KIND").values()) == {"kept"}
    target.define({"env": {"KIND": "kept"}})


@pytest.mark.thorough
def test_a_killed_run_between_two_edits_is_finished_by_the_next(target, users, releases):
    version = releases[0]
    deployed(target, version, {"env": {"EDIT": "0"}})
    target.define({"env": {"EDIT": "1"}})
    run = target.start(version)
    run.until("publish")
    run.process.kill()
    run.process.wait()
    until(lambda: not target.traces().locked, 60, "the lock of the killed run to end")
    target.define({"env": {"EDIT": "2"}})
    target.deploy(version)
    assert set(variables(target, "EDIT").values()) == {"2"}


@pytest.mark.thorough
def test_a_node_that_has_lost_them_says_so(target, users, releases):
    """As a rebuilt node has: it starts with the settings of now, and plan and result tell."""
    version = releases[0]
    deployed(target, version, {"env": {"LOST": "1"}})
    first = number(target)
    deployed(target, version, {"env": {"LOST": "2"}})
    for file in (target.agents.folder / "web2" / "srv" / NAME / "settings" / version).glob(f"{first}-*.json"):
        file.unlink()
    plan = target.run("rollback", f"settings={first}", "test=True")
    said = f"web2: {NAME} starts with the settings of now"
    assert said in plan and f"those of {version} (settings {first}) are not kept there" in plan
    target.run("rollback", f"settings={first}")
    found = variables(target, "LOST")
    assert (found["web1"], found["web2"], found["web3"]) == ("1", "2", "1")
    target.define()
    target.deploy(version)
