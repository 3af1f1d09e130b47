"""HTTP probes against real servers: good ones, wrong ones, and those that never end."""

import threading

import pytest
from saltdeploy.system import probes
from saltdeploy.system.probes import httpprobe

from tests.unit.system.probing import ADDRESS, drip, ok, probe, problem, wait_until


def test_http(web):
    values, _, asked = web
    result = probes.run(probe("http", "/", contains="Welcome"), values)
    assert (result["test"], ok(result)) == ("http /", "status 200")
    assert 0 <= result["seconds"] < 5
    assert asked[0][1]["Host"] == f"{ADDRESS}:{values['port']}"


def test_http_status(web):
    values, pages, _ = web
    pages["/teapot"] = (418, {}, b"")
    assert "/teapot: status 418, expected 200" in problem(probes.run(probe("http", "/teapot"), values))
    assert ok(probes.run(probe("http", "/teapot", status=418), values)) == "status 418"


def test_http_contains(web):
    values, _, _ = web
    detail = problem(probes.run(probe("http", "/", contains="Goodbye"), values))
    assert "the answer does not contain 'Goodbye': 'Welcome to the shop'" in detail


@pytest.mark.parametrize(
    "content_type, body",
    [
        ("text/html", "Grüße".encode()),
        ("text/html; charset=utf-8", "Grüße".encode()),
        ("text/html; charset=latin-1", "Grüße".encode("latin-1")),
        ("text/html; charset=nonsense", "Grüße".encode()),
        ("text/html", b"\xff Gr\xc3\xbc\xc3\x9fe"),
    ],
)
def test_http_contains_in_any_charset(web, content_type, body):
    values, pages, _ = web
    pages["/"] = (200, {"Content-Type": content_type}, body)
    ok(probes.run(probe("http", "/", contains="Grüße"), values))


def test_http_does_not_follow_a_redirect_to_another_instance(web):
    values, pages, asked = web
    pages["/old"] = (302, {"Location": "/"}, b"")
    detail = problem(probes.run(probe("http", "/old"), values))
    assert detail.endswith("status 302 (a redirect to /), expected 200")
    assert ok(probes.run(probe("http", "/old", status=302), values)) == "status 302"
    assert [path for path, _ in asked] == ["/old", "/old"]


@pytest.mark.parametrize(
    "path, asked_for",
    [("/a b?q=ü&x=%20#top", "/a%20b?q=%C3%BC&x=%20%23top"), ("/?a=1&b=[2]", "/?a=1&b=[2]")],
)
def test_http_quotes_what_no_url_holds(web, path, asked_for):
    values, pages, asked = web
    pages[asked_for] = (200, {}, b"")
    ok(probes.run(probe("http", path), values))
    assert asked[0][0] == asked_for


def test_http_ignores_proxies(web, monkeypatch):
    values, _, _ = web
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    ok(probes.run(probe("http", "/"), values))


def test_http_of_a_big_answer_reads_the_beginning(web, monkeypatch):
    values, pages, _ = web
    monkeypatch.setattr(httpprobe, "LIMIT", 100)
    pages["/"] = (200, {"Content-Length": "197"}, b"x" * 90 + b"near" + b"x" * 100 + b"far")
    ok(probes.run(probe("http", "/", contains="near"), values))
    problem(probes.run(probe("http", "/", contains="far"), values))


def test_http_refused():
    assert problem(probes.run(probe("http", "/"), {"address": ADDRESS, "port": 1})) == (
        f"GET http://{ADDRESS}:1/: connection refused"
    )


@pytest.mark.parametrize(
    "answer, told",
    [
        (b"", "closed connection without response"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "IncompleteRead"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "IncompleteRead"),
    ],
)
def test_http_of_what_is_no_answer(raw, answer, told):
    assert told in problem(probes.run(probe("http", "/"), raw(lambda c: c.sendall(answer))))


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Long: ",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ],
    ids=["status", "header", "body to the end", "body of a length", "chunk"],
)
def test_http_cuts_off_a_server_that_drips(raw, first):
    result = probes.run(probe("http", "/", timeout=0.3), raw(lambda c: drip(c, first)))
    assert "no whole answer within 0.3s" in problem(result, at_most=2)


def test_http_gives_up_on_a_server_that_hangs(raw):
    result = probes.run(probe("http", "/", timeout=0.3), raw(lambda c: c.recv(1)))
    assert "no whole answer within 0.3s" in problem(result, at_most=2)


def test_http_leaves_no_thread_behind(web, raw):
    values, _, _ = web
    before = set(threading.enumerate())
    for _ in range(5):
        probes.run(probe("http", "/", timeout=60), values)
    assert wait_until(lambda: not set(threading.enumerate()) - before)
