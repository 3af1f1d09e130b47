"""All that Salt loads: it is there, documented, and refuses in the way Salt expects."""

from __future__ import annotations

import pytest
import salt.loader
from salt.exceptions import CommandExecutionError, SaltInvocationError
from saltdeploy import loader

from tests.support.site import REPOSITORY

pytestmark = pytest.mark.main_path

RUNNER = {
    "app",
    "plan",
    "check",
    "publish",
    "promote",
    "abort",
    "rollback",
    "scale",
    "restart",
    "reload",
    "watch",
    "withdraw",
    "remove",
    "request",
    "prune",
}
RUNNER |= {"all", "approve", "evacuate", "return", "status", "history", "test", "logs", "exec", "hooks", "unlock"}
APP = {"install", "start", "stop", "restart", "test", "instances", "remove", "logs", "command", "observe"}
APP |= {"restore", "missing", "clean", "reload"}


def public(loader, name):
    return {function.partition(".")[2] for function in loader if function.startswith(f"{name}.")}


def test_modules_are_loaded_with_examples(modules):
    assert public(modules, "app") >= APP
    assert public(modules, "discovery") >= {"publish", "withdraw", "find", "register", "deregister"}
    assert public(modules, "deploy") == {"hook", "test_peers", "prune"}
    assert public(modules, "environment") == {"facts", "machine", "reboot"}
    for name in ("app", "discovery", "deploy", "environment"):
        for function in public(modules, name):
            assert "CLI Example:" in modules[f"{name}.{function}"].__doc__, function


def test_runner_is_loaded_with_examples(runners):
    assert public(runners, "deploy") == RUNNER
    for function in RUNNER:
        assert f"salt-run deploy.{function}" in runners[f"deploy.{function}"].__doc__
    assert public(runners, "environment") == {
        *("diff", "down", "inventory", "list", "reboot", "show", "status", "up", "validate", "zones")
    }
    # Salt puts the bus and the user into the globals of a function.
    for function in [f for f in runners if f.partition(".")[0] in ("deploy", "environment")]:
        assert "_session" in runners[function].__globals__, function
    for function in public(runners, "environment"):
        assert f"salt-run environment.{function}" in runners[f"environment.{function}"].__doc__


def test_states_are_loaded(states):
    assert public(states, "app") == {"installed", "running", "deployed", "absent", "room", "defined", "cleaned"}
    assert public(states, "discovery") == {"published", "withdrawn", "ready", "resolved", "left"}
    assert public(states, "consul_acl") == {"bootstrapped", "policy", "role", "token", "tokens_known"}


def test_a_missing_library_is_named_with_the_command_that_installs_it(opts, monkeypatch):
    monkeypatch.setitem(loader.PACKAGES, "nowhere", "py-nowhere")
    modules = salt.loader.minion_mods(opts)
    states = salt.loader.states(opts, modules, {}, None)
    for found, kind in ((modules, "_modules"), (states, "_states"), (salt.loader.runner(opts), "_runners")):
        for name in [path.stem for path in (REPOSITORY / kind).glob("*.py")]:
            assert not public(found, name)
            assert "Run `salt-pip install py-nowhere`" in found.missing_fun_string(f"{name}.any")


def test_bad_input_is_an_invocation_error(modules):
    with pytest.raises(SaltInvocationError, match="unknown app 'wep'.*did you mean `web`"):
        modules["app.install"]("wep", "1.0")
    with pytest.raises(SaltInvocationError, match="not installed on web1: run app.install first"):
        modules["app.start"]("web", "1.0")


def test_what_is_not_there_reads_as_nothing(modules):
    assert modules["app.releases"]("web") == []
    assert modules["app.installed"]("web", "1.0") is False
    assert modules["app.remove"]("web", "1.0") is False


def test_a_dead_agent_is_an_execution_error_that_names_it(modules):
    with pytest.raises(
        CommandExecutionError, match=r"Consul does not answer \(http://127.0.0.1:1: connection refused\)"
    ):
        modules["discovery.find"]("postgres")


@pytest.mark.parametrize("state", ["app.deployed", "app.absent", "discovery.withdrawn"])
def test_a_state_that_cannot_look_fails_with_a_comment(states, state):
    ret = states[state]("web")
    assert ret["result"] is False
    assert ret["changes"] == {}
    assert "does not answer" in ret["comment"]


def test_an_instance_with_numbered_settings_is_of_its_release(states, monkeypatch):
    one = {"id": "web_1.0_80-7", "version": "1.0@7", "running": True, "tested": True}
    stopped = []
    fakes = {
        "app.observe": lambda name: {"instances": [one]},
        "app.releases": lambda name: ["1.0"],
        "app.stop": lambda name, ids: stopped.extend(ids) or {"instances": ids, "warnings": []},
        "app.remove": lambda name, version: True,
    }
    for state in ("running", "absent"):
        monkeypatch.setitem(states[f"app.{state}"].__globals__, "__salt__", fakes)
    assert states["app.running"]("web", "1.0")["comment"] == "1 of web 1.0 run"
    assert states["app.absent"]("web", version="1.0")["result"] and stopped == ["web_1.0_80-7"]


@pytest.mark.parametrize("told", [[], ["web_1.0_80 had to be killed"]], ids=["none", "one"])
@pytest.mark.parametrize("state, arguments", [("running", ["1.0"]), ("deployed", []), ("absent", [])])
def test_a_state_has_warnings_only_where_there_is_one(states, monkeypatch, state, arguments, told):
    """Salt counts an empty list as a warning."""
    one = {"id": "web_1.0_80", "version": "1.0", "running": False, "tested": True}
    fakes = {
        "app.observe": lambda name: {"instances": [one]},
        "app.start": lambda *_, **__: {"ok": True, "instances": [one], "failures": [], "warnings": told},
        "app.missing": lambda name: {"instances": [one["id"]], "superseded": [], "warnings": [], "reason": ""},
        "app.restore": lambda name, ids: {"instances": ids, "warnings": told},
        "app.releases": lambda name: [],
        "app.stop": lambda name, ids: {"instances": ids, "warnings": told},
    }
    monkeypatch.setitem(states[f"app.{state}"].__globals__, "__salt__", fakes)
    ret = states[f"app.{state}"]("web", *arguments)
    assert ret["result"] is True and ret["changes"], ret
    assert ret.get("warnings") == (told or None)


def test_ready_waits_until_users_find_what_the_node_published(states, modules, monkeypatch):
    """Not without being asked to."""
    answers = [["shop_1.0_80"], ["shop_1.0_80"], []]
    fakes = {"discovery.leader": lambda: "", "discovery.failing": lambda: answers.pop(0)}
    monkeypatch.setitem(states["discovery.ready"].__globals__, "__salt__", fakes)
    assert states["discovery.ready"]("agent")["result"] is True and len(answers) == 3
    assert states["discovery.ready"]("agent", passing=True)["result"] is True and answers == []
    answers += [["shop_1.0_80"]] * 2
    late = states["discovery.ready"]("agent", deadline=0, passing=True)
    assert late["result"] is False and "not healthy: shop_1.0_80" in late["comment"]


def test_ready_asks_in_test_mode_too_and_waits_for_nothing(test_mode, states, monkeypatch):
    ret = states["discovery.ready"]("agent")
    assert ret["result"] is None
    assert ret["comment"].startswith("Would wait up to 120s for discovery: Consul does not answer")
    monkeypatch.setitem(states["discovery.ready"].__globals__, "__salt__", {"discovery.leader": lambda: ""})
    ret = states["discovery.ready"]("agent")
    assert (ret["result"], ret["comment"]) == (True, "Discovery answers")


def test_a_name_that_has_an_ipv6_address_only_is_resolved(states, monkeypatch):
    asked = []

    def run_all(command, **_):
        asked.append(command)
        return {"retcode": 0, "stdout": "fd00::11  STREAM db.service.consul\nfd00::11  DGRAM\n"}

    monkeypatch.setitem(states["discovery.resolved"].__globals__, "__salt__", {"cmd.run_all": run_all})
    ret = states["discovery.resolved"]("db.service.consul")
    assert (ret["result"], ret["comment"]) == (True, "db.service.consul is fd00::11")
    assert asked == [["getent", "ahosts", "db.service.consul"]]


def test_installed_tells_in_test_mode_what_it_would_do(test_mode, states, tmp_path):
    ret = states["app.installed"]("web", "1.0")
    assert (ret["result"], ret["changes"], ret["comment"]) == (None, {"installed": "1.0"}, "Would install web 1.0")
    assert not list(tmp_path.glob("srv/web/releases/*1.0*"))


def test_installed_fails_whole(states, tmp_path):
    ret = states["app.installed"]("web", "1.0")
    assert ret["result"] is False
    assert "/nowhere.tar.gz" in ret["comment"]
    assert not list(tmp_path.glob("srv/web/releases/*1.0*"))


def test_steps_are_told_in_one_line_and_failures_with_their_cause(outputters):
    step = {"phase": "start", "node": "web1", "what": "web_1.0_80: up", "seconds": 0.25, "ok": True}
    event = {"suffix": "progress", "event": {"message": {"step": step}}}
    assert outputters["deploy"](event) == "start    web1: web_1.0_80: up  250 ms"
    failed = {**step, "what": "does not stay up\nits last lines:\nno database", "ok": False}
    lines = outputters["deploy"]({"suffix": "progress", "event": {"message": {"step": failed}}}).splitlines()
    assert lines[0].startswith("start    web1: does not stay up")
    assert [line.strip() for line in lines[1:]] == ["its last lines:", "no database"]


def test_logs_are_grouped_by_node_and_instance(outputters):
    logs = {"web2": {"web_1.0_80": "started\nfine"}, "web1": {"web_1.0_81": "", "web_1.0_80": "started"}}
    shown = outputters["deploy"]({"logs": logs, "problems": {"web3": "does not answer"}, "retcode": 1})
    assert shown.splitlines() == [
        "web1: web_1.0_80",
        "  started",
        "",
        "web1: web_1.0_81",
        "",
        "web2: web_1.0_80",
        "  started",
        "  fine",
        "",
        "web3: does not answer",
    ]


def test_a_command_shows_what_it_printed_and_how_it_ended(outputters):
    result = {"output": "a\nb\n", "verdict": "ls ended with 0, as web_1.0_80 on web1", "seconds": 0.1, "retcode": 0}
    assert outputters["deploy"](result).splitlines() == ["a", "b", "ls ended with 0, as web_1.0_80 on web1  (100 ms)"]


def test_history_says_what_was_done(outputters):
    entry = {
        "verb": "rollback",
        "version": "1.0",
        "outcome": "done",
        "retcode": 0,
        "began": 0,
        "seconds": 4.2,
        "owner": "ann",
        "why": "",
    }
    history = {"app": "web", "environment": "site", "history": [{**entry, "reason": "broken"}], "warnings": []}
    shown = outputters["deploy"](history)
    head, row = shown.splitlines()[1:]
    assert head.split() == ["when", "what", "release", "outcome", "took", "by", "reason"]
    assert row.split()[2:] == ["rollback", "1.0", "done", "4.2", "s", "ann", "broken"]
    # An earlier version of saltdeploy wrote no outcome.
    del history["history"][0]["outcome"]
    assert outputters["deploy"](history) == shown


def test_a_row_of_status_has_its_notes(outputters):
    row = {"id": "web_1.0_80", "node": "web1", "version": "1.0", "address": "a", "state": "published", "health": "ok"}
    app = {"app": "web", "version": "1.0", "deployment": "d1", "time": 0, "lock": "", "paused": "", "drift": ""}
    app |= {"warm": "", "frozen": "", "share": None, "warnings": []}
    app["instances"] = [{**row, "notes": ["with weight 5 and not 6", "not in the record"]}]
    app["strangers"] = [{**row, "node": "web9", "state": "foreign", "notes": ["not registered by saltdeploy"]}]
    shown = outputters["deploy"]({"apps": [app], "environment": "site", "retcode": 0}).splitlines()
    assert "published, with weight 5 and not 6, not in the record" in shown[2] and "none of it" not in shown[0]
    assert "not registered by saltdeploy" in shown[3] and "foreign" not in shown[3]


def test_status_says_where_the_definition_differs(outputters):
    app = {"app": "web", "version": "1.0", "deployment": "d1", "time": 0, "instances": [], "lock": "", "paused": ""}
    app |= {"warm": "", "drift": "the definition differs", "frozen": "", "share": None, "strangers": [], "warnings": []}
    status = {"apps": [app], "environment": "site", "retcode": 0}
    assert outputters["deploy"](status).splitlines()[-1] == "the definition differs"


def test_wrong_arguments_are_a_result_that_is_refused(runners):
    result = runners["deploy.scale"]("web", instnaces=3)
    assert result["retcode"] == 3
    assert "unknown argument instnaces= (did you mean `instances`?)" in result["verdict"]
    assert "confirm='yes': True or False is allowed" in runners["deploy.remove"]("web", confirm="yes")["verdict"]


def test_a_run_of_several_apps_is_a_table_and_the_reason_of_each_failure(outputters):
    rows = [
        {"app": "db", "outcome": "done", "seconds": 4.2, "verdict": "db is published", "retcode": 0},
        {"app": "till", "outcome": "reverted", "seconds": 2.0, "verdict": "till was not deployed", "retcode": 1},
        {"app": "shop", "outcome": "not_begun", "verdict": "shop was not begun: till", "retcode": 3},
        {"app": "mail", "verdict": "refused, nothing was changed: mail is paused", "retcode": 3},
    ]
    run = {"runs": rows, "environment": "site", "verdict": "in site, …", "retcode": 1, "seconds": 9.0}
    assert outputters["deploy"](run).splitlines() == [
        "  app   outcome           took",
        "  db    done              4.2 s",
        "  till  failed, reverted  2.0 s",
        "  shop  not begun",
        "  mail  refused",
        "till was not deployed  (2.0 s)",
        "shop was not begun: till",
        "refused, nothing was changed: mail is paused",
        "in site, …  (9.0 s)",
    ]


def test_each_line_of_an_app_in_a_run_of_several_begins_with_its_name(outputters):
    step = {"phase": "start", "node": "web1", "what": "does not stay up\nits last lines", "seconds": 1.0, "ok": False}
    event = {"suffix": "progress", "event": {"message": {"of": "shop", "step": step}}}
    assert outputters["deploy"](event).splitlines() == [
        "shop start    web1: does not stay up  1.0 s",
        "shop          its last lines",
    ]


def test_plans_follow_one_another(outputters):
    plans = [{"app": name, "version": "1.0", "environment": "site", "plan": ["install"]} for name in ("db", "shop")]
    shown = outputters["deploy"]({"plans": plans, "environment": "site", "retcode": 0})
    assert shown == "db 1.0 in site, the plan:\n  install\n\nshop 1.0 in site, the plan:\n  install"
    down = {"environment": "site", "plan": ["remove the app db"], "retcode": 0}
    assert outputters["deploy"](down) == "in site, the plan:\n  remove the app db"


def test_the_order_of_a_rolling_reboot_is_shown(outputters):
    zones = [{"zone": "a", "nodes": ["web1", "web2"]}, {"zone": "", "nodes": ["web3"]}]
    shown = outputters["deploy"]({"environment": "site", "zones": zones, "warnings": [], "retcode": 0})
    assert shown == "site can be rebooted in this order:\n  zone a: web1, web2\n  no zone: web3"
    none = {"environment": "site", "zones": [], "retcode": 0}
    assert outputters["deploy"](none) == "site can be rebooted in this order:\n  no machine"
