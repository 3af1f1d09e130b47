"""Every function that Salt loads is given junk, for each of its arguments: it answers in the way Salt expects."""

from __future__ import annotations

import inspect
import re
import time
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.support.hostile import ALL, is_fit_to_be_shown
from tests.support.verbs import NoMaster

# What each argument is where another one is junk.
GOOD = {
    "name": "web",
    "version": "1.0",
    "targets": [],
    "weights": {},
    "versions": [],
    "command": "true",
    "instance": "web_1.0_80",
    "service_id": "db",
    "app": "web",
    "phase": "before_start",
    "hooks": [],
    "deadline": 0,
    "secret": "00000000-0000-0000-0000-000000000000",
    "rules": "",
    "management": "",
    "policies": [],
    "accessor": "00000000-0000-0000-0000-000000000000",
    "accessors": [],
    "rights": {},
    "urls": ["http://127.0.0.1:1"],
    "roles": {},
    "passwords": {},
    "config": {
        "name": "web1",
        "data-dir": "/nowhere",
        "initial-cluster": "web1=http://127.0.0.1:1,web2=http://127.0.0.1:1",
        "initial-cluster-state": "new",
    },
}
# Seconds of processor time that one call may take: far more than it takes, and far less than what does not end.
SECONDS = 20


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nothing waits before it asks again an agent that is nowhere: that takes minutes in all these calls."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def arguments(function):
    return [n for n, p in inspect.signature(function).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]


def calls(function, also=(), junks=ALL):
    """Yield what ``function`` is called with: junk for one argument, and what is good for those that must be there."""
    parameters = inspect.signature(function).parameters
    needed = {n: GOOD.get(n, "web") for n in arguments(function) if parameters[n].default is inspect.Parameter.empty}
    needed.update({n: GOOD[n] for n in ("deadline",) if n in parameters})
    for argument in [*arguments(function), *also]:
        for label, junk in junks.items():
            yield f"{argument} is a {label}", {**needed, argument: junk}


def functions(loader, *names):
    return sorted(f for f in loader if f.partition(".")[0] in names)


def test_modules(modules):
    """What a function takes in spite of all is right, too: that it raises nothing else is what counts."""
    refused = 0
    for name in functions(modules, "app", "deploy", "discovery", "environment"):
        also = (
            ("address", "port", "tags", "meta", "checks") if name in ("discovery.register", "discovery.digest") else ()
        )
        for what, kwargs in calls(modules[name], also):
            began = time.process_time()
            try:
                modules[name](**kwargs)
            except (CommandExecutionError, SaltInvocationError) as exc:
                refused += 1
                assert is_fit_to_be_shown(str(exc)), f"{name}, {what}: {exc!s:.500}"
            except Exception as exc:
                pytest.fail(f"{name}, {what}: {type(exc).__name__}: {exc!s:.500}")
            assert time.process_time() - began < SECONDS, f"{name}, {what}"
    assert refused > 1000


def test_states(states):
    for name in functions(states, "app", "discovery", "consul_acl", "etcd_access"):
        # Those ask Consul or etcd for each; and only the state tree uses them.
        some = dict(list(ALL.items())[::4]) if name.startswith(("consul_acl.", "etcd_access.")) else ALL
        for what, kwargs in calls(states[name], junks=some):
            try:
                ret = states[name](**kwargs)
            except Exception as exc:
                pytest.fail(f"{name}, {what}: {type(exc).__name__}: {exc!s:.500}")
            assert ret["result"] in (True, False), f"{name}, {what}"
            assert ret["result"] or (ret["changes"] == {} and is_fit_to_be_shown(ret["comment"])), f"{name}, {what}"


@pytest.fixture
def runner(runners, opts, monkeypatch):
    """The runner, with a pillar, and neither a master nor a Consul."""
    opts["pillar"]["environments"]["site"]["discovery"]["consul"]["servers"] = ["http://127.0.0.1:1"]
    compiled = SimpleNamespace(compile_pillar=lambda: opts["pillar"])
    monkeypatch.setattr("saltdeploy.master.verbs.session.salt.pillar.Pillar", lambda *args: compiled)
    for module in ("session", "logs", "execute", "environments", "up", "down"):
        monkeypatch.setattr(f"saltdeploy.master.verbs.{module}.Fleet", lambda opts: NoMaster())
    return runners


def verbs(runners):
    return {f.partition(".")[2]: runners[f] for f in functions(runners, "deploy")}


def test_every_verb_of_the_runner(runner):
    """Whatever it is given, it ends with 3: at the latest because Consul does not answer."""
    for verb, function in verbs(runner).items():
        for what, kwargs in calls(function):
            first = {} if verb in ("all", "request") else {"name": "web"}
            given = {**first, **({"command": "true"} if verb == "exec" else {}), **kwargs}
            result = function(**given)
            assert result["retcode"] == 3, f"deploy.{verb}, {what}: {result}"
            assert is_fit_to_be_shown(result["verdict"]), f"deploy.{verb}, {what}"


def test_positional_and_unknown_arguments_of_every_verb(runner):
    for verb, function in verbs(runner).items():
        for label, junk in ALL.items():
            for result in (function("web", *[junk] * 20), function("web", **{"a\x1bb" * 100: junk})):
                assert result["retcode"] == 3, f"deploy.{verb}, {label}"
                assert is_fit_to_be_shown(result["verdict"]), f"deploy.{verb}, {label}"


def test_every_function_of_the_environment_runner(runner, tmp_path):
    """These need no Consul. Whatever they are given, they end with a result that can be shown."""
    for name in functions(runner, "environment"):
        for what, kwargs in calls(runner[name]):
            result = runner[name](**kwargs)
            assert result["retcode"] in (0, 1, 3), f"{name}, {what}: {result}"
            assert "verdict" not in result or is_fit_to_be_shown(result["verdict"]), f"{name}, {what}"
        for label, junk in ALL.items():
            for result in (runner[name](*[junk] * 20), runner[name](**{"a\x1bb" * 100: junk})):
                assert result["retcode"] == 3, f"{name}, {label}"
                assert is_fit_to_be_shown(result["verdict"]), f"{name}, {label}"


def test_a_fault_of_ours_is_no_traceback_and_no_claim_that_nothing_was_changed(runner, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("x\x1bGehe1m" * 5000)

    monkeypatch.setattr("saltdeploy.master.verbs.status.run", fail)
    monkeypatch.setattr("saltdeploy.master.verbs.scale.run", fail)
    for verb, given, code in (("status", {}, 1), ("scale", {}, 2), ("scale", {"test": True}, 1)):
        result = runner[f"deploy.{verb}"](**given)
        assert result["retcode"] == code
        assert re.search(r"Internal error in saltdeploy \(KeyError at \w+\.py:[0-9]+\)\. ", result["verdict"])
        assert "Gehe1m" not in result["verdict"]
        # What only looks leaves nothing unfinished.
        assert ("run `salt-run deploy.status`" in result["verdict"]) is (code == 2)
        assert is_fit_to_be_shown(result["verdict"])


def test_what_is_shown_does_nothing_to_a_terminal(outputters):
    hostile = "\x1b]0;title\x07\r\x9b2J\u202e\ud800"
    logs = {"logs": {f"web{hostile}": {"web_1.0_80": f"one\n{hostile}two\tthree"}}, "problems": {}, "retcode": 0}
    event = {"suffix": "progress", "event": {"message": {"say": hostile}}}
    for data in (logs, {"verdict": hostile, "retcode": 3}, event, {"output": hostile, "verdict": "", "retcode": 0}):
        shown = outputters["deploy"](data)
        assert all(c.isprintable() or c in "\n\t" for c in shown), ascii(shown)
        assert r"\x1b]0;title\x07\r\x9b2J\u202e\ud800" in shown
    assert "two\tthree" in outputters["deploy"](logs)


@pytest.mark.parametrize(
    "given", ["../../../precious", "/precious", "web_1.0_80/../../../precious", "web_1.0_80\n", "*"]
)
def test_an_instance_is_no_way_out_of_the_root(modules, tmp_path, given):
    """What is stopped is removed, with its folder."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "srv/web/instances").mkdir(parents=True)
    given = given.replace("/precious", str(precious)) if given.startswith("/") else given
    with pytest.raises(SaltInvocationError, match="an id is <app>_<version>_<port>"):
        modules["app.stop"]("web", [given])
    assert precious.is_dir()


@pytest.mark.parametrize(
    "app, version", [("web", "../../../precious"), ("../../precious", "1.0"), ("*", "1.0"), ("", "")]
)
def test_a_release_is_no_way_out_of_the_root(modules, tmp_path, app, version):
    """What is removed is what the link of its name leads to."""
    (tmp_path / "files/inside").mkdir(parents=True)
    (tmp_path / "precious").symlink_to(tmp_path / "files/inside")
    (tmp_path / "srv/web/releases").mkdir(parents=True)
    with pytest.raises(SaltInvocationError, match="is not a (name|version)"):
        modules["app.remove"](app, version)
    assert (tmp_path / "files/inside").is_dir()


def test_a_version_that_is_a_number_is_not_said_to_be_absent(states):
    """YAML makes 1.1 of 1.10, and no release is called so."""
    ret = states["app.absent"]("web", version=1.1)
    assert ret["result"] is False
    assert "Quote it twice" in ret["comment"]


@pytest.mark.parametrize("deadline", [float("nan"), float("inf"), "1m", None])
def test_a_state_that_waits_has_a_deadline_it_reaches(states, deadline):
    for name in ("discovery.ready", "discovery.resolved"):
        ret = states[name]("localhost", deadline=deadline)
        assert ret["result"] is False
        assert "deadline=" in ret["comment"]
