"""What others are told of a run: which events, with what in them, and what becomes of a webhook that fails."""

import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
import requests
import salt.config
from saltdeploy import definition
from saltdeploy.core import events
from saltdeploy.core.environment import Webhook
from saltdeploy.core.errors import DONE, NOT_REVERTED, REFUSED, REVERTED, DefinitionError, Failed
from saltdeploy.core.model import PortRange
from saltdeploy.definition import inheritance
from saltdeploy.master import notify
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.verbs import restart

from tests.support.fleet import make_app

URL = "https://user:geheim@chat.example.com:8443/hooks/geheim?token=geheim"
ABOUT = {
    "app": "shop",
    "environment": "test",
    "deployment": "d1",
    "owner": "me@here",
    "reason": "why not",
    "verb": "deploy",
}


class Fired(list):
    """Stands for the bus."""

    problem = ""

    def fire(self, tag, data):
        self.append((tag, data))

    @property
    def names(self):
        return [tag.removeprefix("saltdeploy/test/shop/") for tag, _ in self]


@pytest.fixture
def bus(monkeypatch):
    fired = Fired()
    monkeypatch.setattr(notify, "Bus", lambda opts: fired)
    return fired


@pytest.fixture
def journal():
    return Journal()


def notifier(journal, webhook=None):
    return notify.Notifier({}, journal, webhook, dict(ABOUT))


def result(code=DONE, why="", record=None):
    end = "paused" if (record or {}).get("paused") else {DONE: "done", REVERTED: "reverted"}.get(code, "not_reverted")
    return {"outcome": end, "retcode": code, "why": why, "verdict": "a sentence", "record": record}


# -- phases -------------------------------------------------------------------------------------


def test_a_phase_is_told_once_it_has_ended_on_all_its_nodes(bus, journal):
    with notifier(journal) as told:
        told.begin("1.1", ["do it"], ["b", "a"])
        journal.begin("install", ["a", "b"])
        journal.add("install", "b", "shop 1.1", 2.5)
        assert bus.names == ["begin"]
        journal.add("install", "a", "shop 1.1", 0.5)
        assert bus.names == ["begin", "install"]
        journal.wave = 1
        journal.begin("healthy", ["a"])
        journal.add("healthy", "", "in discovery", 1.0)
        told.end(result())
    assert bus.names == ["begin", "install", "healthy", "end"]
    begin, install, healthy, end = [data for _, data in bus]
    assert all({**ABOUT, "version": "1.1"}.items() <= data.items() for _, data in bus)
    assert [data["number"] for _, data in bus] == [1, 2, 3, 4]
    assert (begin["nodes"], begin["plan"], begin["outcome"]) == (["a", "b"], ["do it"], "")
    assert (install["nodes"], install["outcome"], install["seconds"], install["wave"]) == (
        ["a", "b"],
        "done",
        2.5,
        None,
    )
    assert (healthy["nodes"], healthy["wave"]) == (["a"], 1)
    assert (end["nodes"], end["outcome"], end["retcode"], end["wave"]) == (["a", "b"], "done", 0, None)


def test_all_nodes_that_failed_are_named_and_a_long_error_is_cut(bus, journal):
    with notifier(journal) as told:
        told.begin("1.1", [], [])
        journal.begin("start", ["a", "b", "c", "d"])
        for node, what, ok in (("c", "y" * 2000, False), ("a", "x.", False), ("b", "", True), ("d", "x.", False)):
            journal.add("start", node, what, 1, ok)
        told.end(result(REVERTED, "z" * 2000))
    failed, end = bus[1][1], bus[2][1]
    assert failed["outcome"] == "failed"
    assert failed["error"].startswith("a, d: x; c: yyy")
    assert len(failed["error"]) == len(end["error"]) == events.ERROR + 1
    assert end["outcome"] == "reverted"


def test_a_phase_that_was_interrupted_has_failed_and_the_way_back_is_told(bus, journal):
    with notifier(journal) as told:
        told.begin("1.1", [], [])
        journal.begin("install", ["a", "b"])
        journal.add("install", "a", "shop 1.1", 1)
        journal.begin("stop", ["a"])
        told.end(result(NOT_REVERTED, "it was interrupted"))
    assert bus.names == ["begin", "install", "stop", "end"]
    assert [data["error"] for _, data in bus][1:] == [
        "it was interrupted before b answered",
        "it was interrupted before a answered",
        "it was interrupted",
    ]
    assert bus[-1][1]["outcome"] == "not_reverted"


def test_where_only_a_test_ran_nothing_was_touched(bus, journal):
    with notifier(journal) as told:
        told.begin("1.1", [], [])
        journal.begin("test", ["peer"])
        journal.add("test", "peer", "passed", 1)
        told.end(result())
    assert (bus[1][1]["nodes"], bus[-1][1]["nodes"]) == (["peer"], [])


def test_a_pause_is_told_before_the_end(bus, journal):
    with notifier(journal) as told:
        told.begin("1.1", [], [])
        told.end(result(record={"paused": {"from": "1.0"}}))
    assert bus.names == ["begin", "paused", "end"]
    assert bus[-1][1]["outcome"] == "paused"


def test_a_run_that_changes_nothing_is_not_told(bus, journal):
    with notifier(journal) as told:
        journal.begin("install", ["a"])
        journal.add("install", "a", "", 1)
        told.end(result())
    assert bus == []


@pytest.mark.parametrize(
    "exc, error", [(Failed("no leader"), "no leader"), (KeyboardInterrupt(), "it was interrupted")]
)
def test_what_is_raised_half_way_is_told_and_raised(bus, journal, exc, error):
    with pytest.raises(type(exc)), notifier(journal) as told:
        told.begin("1.1", [], [])
        raise exc
    assert bus.names == ["begin", "end"]
    assert (bus[-1][1]["outcome"], bus[-1][1]["retcode"], bus[-1][1]["error"]) == ("refused", REFUSED, error)


def test_nothing_of_one_run_is_told_in_the_next_on_the_same_journal(bus, journal):
    for version in ("1.1", "1.2"):
        with notifier(journal) as told:
            told.begin(version, [], [])
            journal.wave = 2
            told.end(result())
        journal.begin("install", ["a"])
        journal.add("install", "a", "", 1)
    assert bus.names == ["begin", "end", "begin", "end"]
    assert [data["wave"] for _, data in bus] == [None] * 4


def test_a_ctrl_c_while_the_end_is_told_does_not_hide_the_result(bus, journal, monkeypatch):
    with notifier(journal) as told:
        told.begin("1.1", [], [])
        told.end(result())

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(bus, "fire", interrupted, raising=False)
    assert journal.warnings == ["interrupted while the last events were sent: they may not have arrived"]


def test_a_bus_that_is_gone_is_a_warning(journal, tmp_path):
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "sock_dir": str(tmp_path), "__role": "master"}
    with notify.Notifier(opts, journal, None, dict(ABOUT)) as told:
        told.begin("1.1", [], [])
        told.end(result())
    [warning] = journal.warnings
    assert "not all fired on the master's bus" in warning and "saltdeploy/test/shop/end" in warning


def test_whatever_the_bus_raises_the_run_goes_on(journal, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no loop")

    monkeypatch.setattr(notify.salt.utils.event, "get_master_event", broken)
    with notify.Notifier({"sock_dir": "/"}, journal, None, dict(ABOUT)) as told:
        told.begin("1.1", [], [])
        told.end(result())
    assert "not all fired" in journal.warnings[0]


def test_a_restart_tells_its_waves():
    class Nodes:
        def run(self, function, nodes, *args, on_reply=None, **options):
            for node in nodes if on_reply else ():
                on_reply(Reply(node, ["shop_1.0_100"]))
            return {}

    journal, told = Journal(), []
    journal.observer = events.Phases(lambda what, **data: told.append((what, journal.wave, data["nodes"])))
    site = SimpleNamespace(
        record=lambda: None,
        app=make_app(PortRange(100, 105)),
        fleet=Nodes(),
        # It finds them healthy, and then none that is lost.
        discovery=SimpleNamespace(wait=lambda name, until, *_, **options: until.__name__ == "<lambda>"),
    )
    waves = [{"a": ["shop_1.0_100"]}, {"b": ["shop_1.0_100"], "c": ["shop_1.0_100"]}]
    up, lock = (
        {(node, i) for wave in waves for node, ids in wave.items() for i in ids},
        SimpleNamespace(check=lambda: None),
    )
    assert restart.act(journal, site, restart.RESTART, waves, up, lock, Identity("d1", "ann")).code == DONE
    assert told == [
        ("restart", 1, ["a"]),
        ("healthy", 1, ["a"]),
        ("restart", 2, ["b", "c"]),
        ("healthy", 2, ["b", "c"]),
    ]


# -- the webhook --------------------------------------------------------------------------------


class Receiver:
    """Stands for requests.post: answers each request with the next of ``answers``, then with 200."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    def __call__(self, url, json, headers, **options):
        self.requests.append((json, headers, options))
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, response.raw = answer, SimpleNamespace(close=lambda: None)
        return response


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(notify, "PAUSE", 0.001)


def send(receiver, *what, **webhook):
    """Send an event of each kind; return what is said at the end."""
    box = notify.Outbox(Webhook(URL, **{"events": events.EVENTS, **webhook}), post=receiver)
    box.start()
    for one in what:
        box.put(one, {"tag": one})
    return box.close()


def test_the_webhook_gets_all_in_order_with_its_headers(tmp_path):
    receiver, token = Receiver(), tmp_path / "token"
    token.write_text("abc\n")
    assert send(receiver, "begin", "install", "end", headers={"X-Team": "ops"}, token_file=str(token)) == ""
    assert [json["tag"] for json, _, _ in receiver.requests] == ["begin", "install", "end"]
    assert {(h["X-Team"], h["Authorization"]) for _, h, _ in receiver.requests} == {("ops", "Bearer abc")}
    assert all(o["timeout"] and o["allow_redirects"] is False for _, _, o in receiver.requests)


def test_it_gets_only_what_it_wants():
    receiver = Receiver()
    assert send(receiver, "begin", "install", "end", events=("end",)) == ""
    assert [json["tag"] for json, _, _ in receiver.requests] == ["end"]
    assert send(Receiver(500, 500, 500), "begin", "end", events=()) == ""


@pytest.mark.parametrize("first", [503, 429, requests.ConnectionError(), requests.Timeout()])
def test_what_may_pass_is_tried_again(first):
    receiver = Receiver(first)
    assert send(receiver, "begin", "end") == ""
    assert [json["tag"] for json, _, _ in receiver.requests] == ["begin", "begin", "end"]


@pytest.mark.parametrize("code", [302, 404])
def test_what_does_not_pass_is_not_tried_again(code):
    receiver = Receiver(code)
    said = send(receiver, "begin", "end")
    assert said == f"webhook https://chat.example.com:8443: 1 of 2 events did not arrive (it answered {code})"
    assert [json["tag"] for json, _, _ in receiver.requests] == ["begin", "end"]


def test_one_that_is_down_is_given_less_time_for_the_next_event_until_it_is_back():
    receiver = Receiver(*[500] * 4, 200, 500)
    said = send(receiver, "begin", "install", "start", "end")
    assert "2 of 4 events did not arrive (it answered 500)" in said
    tags = [json["tag"] for json, _, _ in receiver.requests]
    assert tags == ["begin"] * notify.TRIES + ["install", "start", "end", "end"]


def test_one_that_never_answers_holds_nobody_up_longer_than_is_said():
    answer = threading.Event()
    box = notify.Outbox(Webhook(URL, events=events.EVENTS), post=lambda *_, **__: answer.wait())
    box.start()
    box.put("begin", {})
    box.put("end", {})
    said = box.close(0.01)
    answer.set()
    assert said.endswith("2 of 2 events did not arrive (not sent within 0.01s after the end)")


def test_a_token_that_cannot_be_read_is_said(tmp_path):
    said = send(Receiver(), "begin", token_file=str(tmp_path / "none"))
    assert said.endswith(f"1 of 1 events did not arrive (token_file {tmp_path}/none: No such file or directory)")


def test_nothing_that_requests_says_of_a_failure_shows_the_secrets(monkeypatch):
    with socket.socket() as bound:  # and not listening: nobody else takes the port, and connections are refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://user:geheim@127.0.0.1:{bound.getsockname()[1]}/geheim?token=geheim"
        with pytest.raises(requests.ConnectionError, match="geheim"):
            requests.post(url, timeout=5)
        box = notify.Outbox(Webhook(url, events=events.EVENTS))
        box.start()
        box.put("end", {})
        said = box.close()
    assert said.endswith("1 of 1 events did not arrive (ConnectionError: Connection refused)")
    assert "geheim" not in said
    header = Webhook("http://127.0.0.1:1/", {"X": "geheim\n"}, events=events.EVENTS)
    box = notify.Outbox(header)
    box.start()
    box.put("end", {})
    assert "(InvalidHeader)" in box.close()


def test_the_cause_of_a_failure_is_said():
    try:
        try:
            raise ssl.SSLCertVerificationError(1, "certificate verify failed")
        except OSError:
            raise requests.exceptions.SSLError("geheim")  # noqa: B904 (requests has it as its context)
    except OSError as exc:
        assert notify._reason(exc) == "SSLError: certificate verify failed"
    assert notify._reason(requests.ReadTimeout("geheim")) == "no answer within 3s"


# -- its definition -----------------------------------------------------------------------------


def pillar(**notify):
    return {
        "apps": {},
        "environments": {
            "production": {"nodes": {"p": {"address": "10.0.0.1"}}, "apps": {}, "notify": notify},
            "test": {"based_on": "production", "nodes": {"t": {"address": "10.0.0.2"}}},
        },
    }


def test_a_webhook_is_defined_and_its_secrets_are_not_in_its_text():
    found = definition.load(pillar(webhook={"url": URL, "headers": {"X": "geheim"}}), "test").webhook
    assert (found.url, found.headers, found.events) == (URL, {"X": "geheim"}, events.EVENTS)
    assert "geheim" not in repr(found) and found.place == "https://chat.example.com:8443"
    assert definition.load(pillar(), "test").webhook is None


@pytest.mark.parametrize("content, lacking", [(b"geheim", 0), (None, 1), (b"\xff geheim", 1)])
def test_a_token_that_cannot_be_read_is_known_before_a_run(tmp_path, content, lacking):
    path = tmp_path / "token"
    if content:
        path.write_bytes(content)
    found = definition.load(pillar(webhook={"url": URL, "token_file": str(path)}), "test")
    said = notify.lacking(found)
    assert len(said) == lacking and "geheim" not in str(said)
    assert all(s.startswith(f"environments:test:notify:webhook:token_file {path}: ") for s in said)
    assert notify.lacking(definition.load(pillar(), "test")) == []


@pytest.mark.parametrize(
    "notify, said",
    [
        ({"webhook": {}}, "environments:production:notify:webhook:url: is missing"),
        ({"webhook": {"url": "geheim.example.com"}}, "notify:webhook:url: found text of another form"),
        ({"webhook": "https://geheim.example.com"}, "notify:webhook: found text. Write a mapping"),
        ({"webhook": {"url": URL, "headers": "geheim"}}, "notify:webhook:headers: found text. Write a mapping"),
        (
            {"webhook": {"url": URL, "headers": {"X": "geheim\n"}}},
            "notify:webhook:headers:X: found text of another form",
        ),
        ({"webhook": {"url": URL, "headers": {"geheim: ": ""}}}, "notify:webhook:headers:key number 1: found text"),
        ({"webhook": {"url": "https://:80/geheim"}}, "notify:webhook:url: needs a host"),
        ({"webhook": {"url": "https://geheim:99999/"}}, "notify:webhook:url: needs a host, and a port"),
        ({"webhook": {"url": URL, "token_file": "token"}}, "notify:webhook:token_file: found text of another form"),
        (
            {"webhook": {"url": URL, "token_file": "/t", "headers": {"authorization": "geheim"}}},
            "notify:webhook:headers: Authorization is made of `token_file`",
        ),
        ({"webhook": {"url": URL, "events": ["ended"]}}, "events:0: 'ended' is not allowed here. Write end."),
        ({"webhok": {}}, "notify:webhok: unknown key (did you mean `webhook`?)"),
    ],
)
def test_a_webhook_that_cannot_be_used_is_refused_by_key_path(notify, said):
    with pytest.raises(DefinitionError) as refused:
        definition.load(pillar(**notify), "production")
    assert said in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_no_node_is_given_the_webhook():
    found = inheritance.own_environment(pillar(webhook={"url": URL})["environments"], "t")
    assert list(found["environments"]["test"]) == ["apps", "nodes"]
