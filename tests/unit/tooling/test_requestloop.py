"""The request loop's count, and the demo's own DNS question."""

import socket
import struct
import threading

import pytest

from tests.support import site
from tooling import agents, requestloop, skydns
from tooling.requestloop import RequestLoop


def entry(port, version):
    return {
        "Node": {"Address": "127.0.0.9"},
        "Service": {"Address": "127.0.0.1", "Port": port, "Meta": {"version": version}},
    }


@pytest.fixture
def loop(monkeypatch):
    """A loop that finds one instance of 1 that works and one of 2 whose answers the test sets."""
    answers = {1: (200, b"{}"), 2: (200, b"{}")}
    monkeypatch.setattr(requestloop.RequestLoop, "pause", 0.001)
    monkeypatch.setattr(requestloop.agents, "ask", lambda agent, path, timeout: [entry(1, "1"), entry(2, "2")])

    def get(address, port, path, timeout):
        if isinstance(answers[port], Exception):
            raise answers[port]
        return answers[port]

    monkeypatch.setattr(requestloop.agents, "get", get)
    made = RequestLoop(["127.0.0.11"], "shop", "/")
    made.answers = answers
    return made


def test_answers_are_counted_by_release(loop):
    with loop:
        assert loop.wait_for("1", 5) and loop.wait_for("2", 5)
    assert loop.failures == []
    assert loop.report()[0] == f"requests during the upgrade: {loop.total}, failed: 0"
    assert loop.total == loop.answered["1"] + loop.answered["2"] >= 2


@pytest.mark.parametrize(
    ("answer", "reason"), [((503, b"down"), "status 503: down"), (ConnectionRefusedError("refused"), "refused")]
)
def test_each_failure_is_counted_and_told(loop, answer, reason):
    loop.answers[2] = answer
    with loop:
        assert loop.wait_for("1", 5)
        for _ in range(1000):
            if loop.failures:
                break
            loop.wait_for("1", 5)
    assert loop.report()[0].endswith(f"failed: {len(loop.failures)}")
    assert any(f"shop 2 at 127.0.0.1:2: {reason}" in line for line in loop.report())


def test_no_healthy_instance_is_a_failure(loop, monkeypatch):
    monkeypatch.setattr(requestloop.agents, "ask", lambda agent, path, timeout: [])
    with loop:
        assert not loop.wait_for("1", 0.1)
    assert "no healthy instance of shop" in loop.failures[0]


def test_service_without_an_address_is_at_its_nodes(loop, monkeypatch):
    bare = entry(1, "1")
    bare["Service"].update(Address="", Meta=None)
    monkeypatch.setattr(requestloop.agents, "ask", lambda agent, path, timeout: [bare])
    assert loop._find() == ("127.0.0.9", 1, "?")


def message(identity, records):
    """Return a DNS answer whose names point back to the question's."""
    question = b"\4shop\7service\6consul\0" + struct.pack("!2H", agents.SRV, 1)
    body = b"".join(struct.pack("!3HIH", 0xC00C, kind, 1, 0, len(data)) + data for kind, data in records)
    return struct.pack("!6H", identity, 0x8180, 1, len(records), 0, 0) + question + body


def test_dns_answers_read_as_dig_prints_them():
    # 0xC011 is `service.consul.` within the question.
    srv = struct.pack("!3H", 1, 2, 8080) + b"\4web1\xc0\x11"
    reply = message(7, [(agents.A, socket.inet_aton("127.0.0.11")), (agents.SRV, srv)])
    assert agents.answers(reply, 7, agents.A) == ["127.0.0.11"]
    assert agents.answers(reply, 7, agents.SRV) == ["1 2 8080 web1.service.consul."]


def test_clients_of_coredns_find_the_release_in_the_name_and_ask_another_server_if_one_fails(monkeypatch):
    name = "shop.test.skydns.local"
    said = {
        (name, agents.SRV): ["10 33 20000 shop-1-0-20000-1-5d09c1eb.web1.shop.test.skydns.local."],
        ("shop-1-0-20000-1-5d09c1eb.web1.shop.test.skydns.local.", agents.A): ["127.0.0.1"],
    }

    def resolve(asked, kind, server, port, timeout):
        if server == "down":
            raise ConnectionRefusedError("refused")
        return said[asked, kind] if server == "up" else []

    monkeypatch.setattr(skydns.agents, "resolve", resolve)
    for _ in range(9):
        assert skydns.Clients(["down", "empty", "up"], "shop", "/", "test")._find() == ("127.0.0.1", 20000, "1.0")
    with pytest.raises(OSError, match="no CoreDNS answers.*knows no instance of shop.test.skydns.local"):
        skydns.Clients(["empty"], "shop", "/", "test")._find()


def test_dns_answer_to_another_question_is_refused():
    with pytest.raises(OSError, match="another question"):
        agents.answers(message(7, []), 8, agents.A)


@pytest.mark.parametrize("reply", [struct.pack("!6H", 7, 0, 1, 1, 0, 0) + b"\xc0\x0c" + b"\0" * 4, message(7, [])[:14]])
def test_dns_answer_that_cannot_be_read_ends(reply):
    with pytest.raises((IndexError, struct.error)):
        agents.answers(reply, 7, agents.A)


def test_resolve_asks_the_server_it_is_given():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def serve():
            query, client = server.recvfrom(512)
            identity = struct.unpack_from("!H", query)[0]
            assert b"\4shop\7service\6consul\0" in query
            server.sendto(message(identity, [(agents.A, socket.inet_aton("127.0.0.12"))]), client)

        thread = threading.Thread(target=serve)
        thread.start()
        found = agents.resolve("shop.service.consul", agents.A, "127.0.0.1", server.getsockname()[1], 5)
        thread.join()
    assert found == ["127.0.0.12"]


def test_users_do_not_go_back_to_an_older_answer_than_they_had(monkeypatch):
    """As a Consul server has it that was started again."""
    answers = iter([(1, 7), (2, 5), (3, 8)])

    def ask(*_):
        port, index = next(answers)
        return [{"Service": {"Address": "a", "Port": port, "Meta": {"version": "1.0"}}}], index

    monkeypatch.setattr(site.tools, "ask_with_index", ask)
    users = site.Users(["a", "b"], "shop", "/")
    assert [users._find()[1] for _ in range(2)] == [1, 3]
