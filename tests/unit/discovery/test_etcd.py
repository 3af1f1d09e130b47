"""The client of etcd, against answers that a real cluster gives too seldom to wait for them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed
from saltdeploy.discovery import etcd
from saltdeploy.discovery.etcd import Etcd, Login

READ = {"header": {"revision": "7"}, "succeeded": True, "responses": [{"response_range": {"kvs": []}}]}


class Member(BaseHTTPRequestHandler):
    """Answers with the next of its server's answers, and again with the last."""

    def do_POST(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        """Print nothing."""


@pytest.fixture
def member():
    """Start members with these answers; return the servers."""
    started = []

    def start(*answers):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Member)
        server.answers, server.asked, server.url = list(answers), [], f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


ENDING = (408, {"error": "grpc: the client connection is closing", "code": 1})
LEADERLESS = (503, {"error": "etcdserver: no leader", "code": 14})
LATE = (503, {"error": "etcdserver: request timed out", "code": 14})
CHANGE = ([], [etcd.put("/a", "1")], "write a")


@pytest.mark.parametrize("answer", [ENDING, LEADERLESS, LATE, (500, {"message": "x", "code": 2})])
def test_a_read_is_asked_of_the_next_member(member, answer):
    sick, well = member(answer), member((200, READ))
    assert Etcd([sick.url, well.url]).ranges(etcd.one("/a")) == (7, [[]])
    with pytest.raises(DiscoveryUnavailable):
        Etcd([sick.url]).get("/a")


@pytest.mark.parametrize("answer, again", [(ENDING, False), (LATE, False), (LEADERLESS, True)])
def test_a_change_that_may_be_done_is_not_asked_of_another_member(member, answer, again):
    sick, well = member(answer), member((200, READ))
    client = Etcd([sick.url, well.url])
    if again:
        assert client.transact(*CHANGE)
    else:
        with pytest.raises(DiscoveryUnavailable, match="could not write a"):
            client.transact(*CHANGE)
    assert len(well.asked) == again


def test_a_login_that_has_ended_is_renewed_once(member):
    ended = (401, {"error": "etcdserver: invalid auth token", "code": 16})
    one = member((200, {"token": "t1"}), ended, (200, {"token": "t2"}), (200, READ))
    client = Etcd([one.url], Login("deploy", "s3cret"))
    assert client.get("/a") is None
    assert [given for _, given in one.asked] == [None, "t1", None, "t2"]
    never = member((200, {"token": "t1"}), ended)
    never.answers = [(200, {"token": "t1"}), ended, (200, {"token": "t2"}), ended]
    with pytest.raises(Failed, match="discovery:skydns:user and password"):
        Etcd([never.url], Login("deploy", "s3cret")).get("/a")


@pytest.mark.parametrize("body", ["<html>s3cret</html>", "", "[]", "nonsense\n"])
def test_an_answer_of_somebody_else_is_told_as_such(member, body):
    with pytest.raises(DiscoveryUnavailable, match="the answer is not etcd's"):
        Etcd([member((200, body)).url]).get("/a")


def test_a_dead_member_and_a_lease_that_has_ended(member):
    one = member((200, {"result": {"ID": "5"}}))
    client = Etcd(["http://127.0.0.1:1", one.url])
    assert client.keep_alive(5) is False
    assert client.urls[0] == one.url
    gone = member((404, {"error": "etcdserver: requested lease not found", "code": 5}))
    Etcd([gone.url]).revoke(5)
    with pytest.raises(DiscoveryUnavailable, match="connection refused"):
        Etcd(["http://127.0.0.1:1"]).get("/a")


def test_no_login_is_shown():
    assert "s3cret" not in repr(Login("deploy", "s3cret", key="/etc/key"))
