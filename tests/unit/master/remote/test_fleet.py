"""What a minion's answer means: no answer is a failure, and a failure is told in one sentence."""

import pytest
from saltdeploy.master.remote import fleet
from saltdeploy.master.remote import fleet as module
from saltdeploy.master.remote.fleet import UNKNOWN, Fleet, Reply, _reply

SILENT = "does not answer: is its salt-minion running?"


@pytest.mark.parametrize(
    "data, error",
    [
        ({"ret": {"a": 1}, "retcode": 0}, ""),
        ({"ret": {"a": 1}}, ""),
        ({"ret": None, "retcode": 0}, ""),
        ({"failed": True}, SILENT),
        ({"failed": True, "ret": "late"}, SILENT),
        ({"out": "no_return"}, SILENT),
        ({"ret": "boom", "retcode": 1}, "boom"),
    ],
)
def test_reply(data, error):
    reply = _reply("web1", data, 0.5)
    assert (reply.node, reply.error, reply.ok, reply.seconds) == ("web1", error, not error, 0.5)
    if not error:
        assert reply.value == data["ret"]


@pytest.mark.parametrize("value", ["", "ERROR: ", "ERROR executing 'app.start': ", []])
def test_a_failure_without_words_is_a_failure(value):
    assert not _reply("web1", {"ret": value, "retcode": 1}, 0).ok


def error(value):
    return _reply("web1", {"ret": value, "retcode": 1}, 0).error


BUG = (
    "The minion function caused an exception: Traceback (most recent call last):\n"
    '  File "/opt/salt/minion.py", line 1900, in _thread_return\n    return_data = self._execute_job_function(\n'
    '  File "/var/cache/salt/minion/extmods/utils/saltdeploy/ports.py", line 7, in first\n    int(text)\n    ^^^^^^^\n'
    '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n    raise\n'
)


@pytest.mark.parametrize(
    "value, told",
    [
        ("ERROR: shop 1.0 is in use", "shop 1.0 is in use"),
        ("ERROR executing 'app.start': shop is not ready: it's dead", "shop is not ready: it's dead"),
        ("Error: the thing", "the thing"),
        (
            # The app's own, among its last lines.
            "ERROR: shop_1.0_80: does not stay up\nits last lines:\nTraceback (most recent call last):\nKeyError: 'a'",
            "shop_1.0_80: does not stay up\nits last lines:\nTraceback (most recent call last):\nKeyError: 'a'",
        ),
        ("ERROR: shop: the database is not available", "shop: the database is not available"),
        (
            ["Specified SLS shop.data in saltenv base is not available on the salt master"],
            "Specified SLS shop.data in saltenv base is not available on the salt master",
        ),
        (["Rendering SLS failed", "No such file"], "Rendering SLS failed; No such file"),
        (
            [
                "Rendering SLS 'base:shop.extra' failed: Jinja variable 'nix' is undefined; line 2\n\n---\npassword: geheim"
            ],
            "Rendering SLS 'base:shop.extra' failed: Jinja variable 'nix' is undefined; line 2",
        ),
        (
            ["Specified SLS 'a.b' in saltenv 'base' is not available on the salt master or through a gitfs"],
            "Specified SLS 'a.b' in saltenv 'base' is not available on the salt master or through a gitfs",
        ),
        ("'app.observe' is not available.", "'app.observe' is not available. Run: salt '*' saltutil.sync_all"),
        (
            "ERROR executing 'app.observe': The following keyword arguments are not valid: refresh=True",
            "The following keyword arguments are not valid: refresh=True. Run: salt '*' saltutil.sync_all",
        ),
        (
            "The minion function caused an exception: Traceback (most recent call last):\n  File …\nKeyError: 'a'\n",
            "KeyError (a bug: the minion's log has the traceback)",
        ),
        (
            f"{BUG}ValueError: invalid literal for int() with base 10: 'geheim'\n",
            "ValueError at ports.py:7 (a bug: the minion's log has the traceback)",
        ),
        (f"{BUG}ValueError: a\n\ngeheim: b\n", "ValueError at ports.py:7 (a bug: the minion's log has the traceback)"),
        (f"{BUG}mine.own.Error: geheim", "mine.own.Error at ports.py:7 (a bug: the minion's log has the traceback)"),
        (
            f"{BUG}FileNotFoundError: [Errno 2] No such file or directory: '/x'\n",
            "FileNotFoundError: [Errno 2] No such file or directory: '/x' (a bug: the minion's log has the traceback)",
        ),
        (
            f"{BUG}salt.exceptions.SaltReqTimeoutError: Message timed out\n",
            "SaltReqTimeoutError: Message timed out (a bug: the minion's log has the traceback)",
        ),
        ({"ok": False}, "failed, and did not say why (retcode 1)"),
    ],
)
def test_the_error_of_a_module(value, told):
    assert error(value) == told


def state(name, result, comment):
    return {"__id__": name, "result": result, "comment": comment}


def test_the_error_of_a_state_run_is_of_the_states_that_failed_first():
    run = {
        "pkg_|-a_|-a_|-installed": state("packages", False, "no such package"),
        "user_|-b_|-b_|-present": state("user", True, "is there"),
        "app_|-c_|-c_|-installed": state("release", False, "One or more requisite failed: app.packages"),
        "file_|-d_|-d_|-managed": {"result": False, "comment": "disk full"},
    }
    assert error(run) == "packages: no such package; file_|-d_|-d_|-managed: disk full"


def test_the_traceback_of_a_state_is_not_told():
    comment = BUG.replace("The minion function caused an exception", "An exception occurred in this state")
    run = {"a": state("web", False, f"{comment}KeyError: 'geheim'\n")}
    assert error(run) == "web: An exception occurred in this state: KeyError at ports.py:7"


def test_a_state_run_of_which_only_requisites_failed():
    run = {"a": state("a", False, "One or more requisite failed: x.y")}
    assert error(run) == "a: One or more requisite failed: x.y"


def test_a_reply_is_ok_without_an_error():
    assert Reply("web1").ok
    assert not Reply("web1", error="x").ok


@pytest.mark.parametrize(
    "deadline, silent, error", [(60.0, True, UNKNOWN), (0.0, False, "app.observe did not end within 0s")]
)
def test_who_works_for_too_long_is_not_silent(monkeypatch, deadline, silent, error):
    """As who is dead, or not known to the master, is."""
    dead = {"web1": {"failed": True}}
    nodes = Fleet({})
    monkeypatch.setattr(nodes, "_answers", lambda *args: iter([dead, {"web2": {"ret": 1}}]))
    replies = nodes.run("app.observe", ["web1", "web2", "web3"], deadline=deadline)
    assert replies["web1"].silent and not replies["web2"].silent
    assert (replies["web3"].silent, replies["web3"].error) == (silent, error)


# -- a node that applies states already -------------------------------------------------------

BUSY = {"ret": ['The function "state.apply" is running as PID 1 and was started at … with jid 2'], "retcode": 1}


class Answering(Fleet):
    """Nodes that answer a job with what is next for them."""

    def __init__(self, monkeypatch, **answers):
        super().__init__({})
        self.answers, self.sent = answers, []
        monkeypatch.setattr(fleet, "RETRY", 0.01)

    def _answers(self, function, nodes, args, kwargs, until, let_through):
        self.sent.append(list(nodes))
        for node in nodes:
            answer = self.answers[node].pop(0) if len(self.answers[node]) > 1 else self.answers[node][0]
            yield {}
            yield {node: answer}


def test_a_node_that_applies_states_is_asked_again(monkeypatch):
    nodes = Answering(monkeypatch, web1=[BUSY, BUSY, {"ret": "done"}], web2=[{"ret": "done"}])
    told, replies = [], []
    found = nodes.run("state.apply", ["web1", "web2"], deadline=20, on_busy=told.append, on_reply=replies.append)
    assert told == ["web1"]
    assert nodes.sent == [["web1", "web2"], ["web1"], ["web1"]]
    assert {node: reply.value for node, reply in found.items()} == {"web1": "done", "web2": "done"}
    assert [reply.node for reply in replies] == ["web2", "web1"]


def test_a_node_that_has_answered_is_asked_once_more_before_it_counts_as_silent(monkeypatch):
    """Its salt-minion runs. Salt may have lost one of several state runs."""
    nodes = Answering(monkeypatch, web1=[BUSY, {"failed": True}, {"ret": "done"}], web2=[{"failed": True}])
    found = nodes.run("state.apply", ["web1", "web2"], deadline=20, on_busy=lambda node: None)
    assert nodes.sent == [["web1", "web2"], ["web1"], ["web1"]]
    assert found["web1"].value == "done" and found["web2"].silent
    nodes = Answering(monkeypatch, web1=[BUSY, {"failed": True}])
    assert nodes.run("state.apply", ["web1"], deadline=20, on_busy=lambda node: None)["web1"].silent
    assert nodes.sent == [["web1"]] * 3


def test_a_node_that_applies_states_for_too_long(monkeypatch):
    nodes = Answering(monkeypatch, web1=[BUSY])
    reply = nodes.run("state.apply", ["web1"], deadline=1.0, on_busy=lambda node: None)["web1"]
    assert reply.error == "another state run was under way there for 1s: see salt web1 state.running"
    # Each question costs the node a process: they become fewer.
    assert not reply.silent and 1 < len(nodes.sent) < 20


def test_where_nobody_waits_the_other_run_is_an_error(monkeypatch):
    reply = Answering(monkeypatch, web1=[BUSY]).run("state.apply", ["web1"])["web1"]
    assert 'The function "state.apply" is running' in reply.error


def test_while_a_job_lasts_it_is_asked_who_has_not_answered(monkeypatch):
    monkeypatch.setattr(module, "WORD", 0.0)

    def answers(function, nodes, args, kwargs, until, between):
        for node in nodes:
            between()
            yield {node: {"ret": node}}

    fleet, asked = Fleet({}), []
    monkeypatch.setattr(fleet, "_answers", answers)
    fleet.run("app.start", ["web1", "web2"], on_wait=asked.append)
    assert asked == [["web1", "web2"], ["web2"]]
