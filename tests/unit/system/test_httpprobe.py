"""HTTP probes against real servers: good ones, wrong ones, and those that never end."""

import contextlib
import datetime
import socket
import ssl
import threading

import pytest
from saltdeploy.environment import certificates
from saltdeploy.system import httpclient, probes
from saltdeploy.system.probes import httpprobe

from tests.unit.system.probing import ADDRESS, CERTIFIED, drip, ok, probe, problem, requesting, wait_until


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
    monkeypatch.setattr(httpclient, "LIMIT", 100)
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


# -- requests with more than a path -----------------------------------------------------------


@pytest.mark.parametrize(
    "status, expected",
    [((200, 204), None), (None, None), (("2xx",), None), ((418, "2xx"), None), ((200, "3xx"), "200 or 3xx")],
)
def test_several_statuses(web, status, expected):
    values, pages, _ = web
    pages["/"] = (204, {}, b"")
    result = probes.run(probe("http", "/", status=status), values)
    if expected:
        assert problem(result).endswith(f"status 204, expected {expected}")
    else:
        assert ok(result) == "status 204"


def test_host_headers_method_and_body(web):
    values, _, asked = web
    headers = {"X-Token": "hunter2", "user-agent": "me", "Content-Type": "text/plain"}
    ok(probes.run(requesting("http", method="POST", host="shop.example.com", headers=headers, body="Grüße"), values))
    [(path, sent)] = asked
    assert (path, sent["method"], sent["body"]) == ("/", "POST", "Grüße".encode())
    assert (sent["Host"], sent["X-Token"], sent["user-agent"]) == ("shop.example.com", "hunter2", "me")
    assert "User-Agent" not in sent and sent["Connection"] == "close"


def test_head(web):
    values, _, _ = web
    assert ok(probes.run(requesting("http", method="HEAD"), values)) == "status 200"
    assert problem(probes.run(requesting("http", "/gone", method="HEAD"), values)).startswith("HEAD http://")


def test_an_answer_that_repeats_a_secret_is_told_without_it(web):
    values, pages, _ = web
    long = b"x" * (httpprobe.SHOWN - 3)
    pages["/"] = (200, {}, long + b"hunter2 secretbody")
    pages["/moved"] = (302, {"Location": "/login?token=hunter2"}, b"")
    secret = {"headers": {"Authorization": "Bearer hunter2"}, "body": "secretbody", "method": "POST"}
    for path in ("/", "/moved"):
        told = problem(probes.run(requesting("http", path, contains="nobody", **secret), values))
        assert "hun" not in told and "secretbody" not in told and told.startswith("POST http://")
    assert "(a redirect to /login?token=***)" in told


def test_secrets_of_a_request_are_in_no_representation():
    made = requesting("http", headers={"X": "hunter2"}, body="hunter3")
    assert "hunter" not in repr(made) and "hunter" not in made.describe()


def test_redirects_are_followed_if_the_definition_says_so(web):
    values, pages, asked = web
    pages["/old"] = (302, {"Location": "new?a=1"}, b"")
    pages["/new?a=1"] = (307, {"Location": f"http://{ADDRESS}:{values['port']}/"}, b"")
    pages["/kept"] = (308, {"Location": "/"}, b"")
    request = {"method": "POST", "body": "b", "headers": {"X-Token": "t"}, "redirects": True}
    assert ok(probes.run(requesting("http", "/old", contains="Welcome", **request), values)) == "status 200"
    methods = [(path, sent.get("method"), sent["X-Token"]) for path, sent in asked]
    assert methods == [("/old", "POST", "t"), ("/new?a=1", None, "t"), ("/", None, "t")]
    asked.clear()
    ok(probes.run(requesting("http", "/kept", **request), values))
    assert [(sent["method"], sent["body"]) for _, sent in asked] == [("POST", b"b")] * 2


def test_another_server_gets_no_secret(web, raw):
    values, pages, _ = web
    heard = []

    def answer(connection):
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        heard.append(True)

    other = raw(answer)
    pages["/"] = (307, {"Location": f"http://{ADDRESS}:{other['port']}/"}, b"")
    sent = []
    real = httpclient._exchange
    httpclient._exchange = lambda *args: (sent.append(args[2]), real(*args))[1]
    try:
        request = {"method": "POST", "body": "b", "host": "h", "headers": {"X": "t"}, "redirects": True}
        ok(probes.run(requesting("http", **request), values))
    finally:
        httpclient._exchange = real
    assert heard and (sent[1].method, sent[1].headers, sent[1].host, sent[1].body) == ("POST", {}, "", "")


@pytest.mark.parametrize(
    "location, told",
    [
        ("/", "more than 10 redirects"),
        ("ftp://x/", "no URL of http or https"),
        ("http://[/", "is no URL"),
        (f"http://{'a' * 64}.example.com/", "is no URL"),
        ("http://a..b/", "is no URL"),
        ("http://a:99999/", "is no URL"),
        ("http://a\x00b/", "no URL of http or https"),
    ],
)
def test_redirects_that_lead_nowhere(web, location, told):
    values, pages, _ = web
    pages["/"] = (302, {"Location": location}, b"")
    assert told in problem(probes.run(requesting("http", redirects=True), values))


# -- TLS --------------------------------------------------------------------------------------


def test_https_verifies_the_address_or_the_host(secure):
    values, ca, asked = secure
    certified = {**values, "address": CERTIFIED}
    assert ok(probes.run(requesting("https", ca=ca), certified)) == "status 200"
    assert ok(probes.run(requesting("https", ca=ca, host="shop.example.com:8443"), values)) == "status 200"
    assert asked == [(None, f"{CERTIFIED}:{values['port']}"), ("shop.example.com", "shop.example.com:8443")]
    detail = problem(probes.run(requesting("https", "/x", ca=ca), values))
    assert detail.startswith(f"GET https://{ADDRESS}:{values['port']}/x: its certificate is not accepted: IP address")
    assert detail.endswith("Write a name from its subjectAltName as `host`.")
    detail = problem(probes.run(requesting("https", ca=ca, host="other.example.com"), values))
    assert "its certificate is not accepted: Hostname mismatch" in detail


def test_a_common_name_does_not_count(tmp_path):
    """Consul does not accept such a certificate either."""
    pair = certificates.authority("shop.example.com", datetime.datetime.now(datetime.timezone.utc))
    (tmp_path / "pair.pem").write_text(pair["certificate"] + pair["key"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with socket.create_server((ADDRESS, 0)) as server:

        def talk():
            with contextlib.suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as connection:
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

        threading.Thread(target=talk, daemon=True).start()
        where = {"address": ADDRESS, "port": server.getsockname()[1]}
        asked = requesting("https", host="shop.example.com", ca=str(tmp_path / "pair.pem"))
        detail = problem(probes.run(asked, where))
    assert "its certificate is not accepted: Hostname mismatch" in detail and "from its subjectAltName" in detail


def test_https_takes_no_unknown_certificate_unless_it_is_insecure(secure, tmp_path):
    values, _, asked = secure
    for request in ({}, {"host": "shop.example.com"}):
        detail = problem(probes.run(requesting("https", **request), values))
        assert "its certificate is not accepted: unable to get local issuer certificate." in detail
    assert asked == []
    assert ok(probes.run(requesting("https", insecure=True), values)) == "status 200"
    assert ok(probes.run(requesting("https", insecure=True, host="any"), values)) == "status 200"


def test_https_by_the_certificates_of_the_machine(secure, monkeypatch):
    """Consul reads a file of the distribution, and Salt's Python may know another."""
    values, ca, _ = secure
    monkeypatch.setattr(httpclient, "SYSTEM_CAS", ("/nowhere", ca))
    assert ok(probes.run(probe("https", "/"), {**values, "address": CERTIFIED})) == "status 200"


def test_a_file_of_cas_that_cannot_be_used_is_named(secure, tmp_path):
    values, _, _ = secure
    (tmp_path / "empty").write_text("no certificate")
    detail = problem(probes.run(requesting("https", ca=f"{tmp_path}/none"), values))
    assert detail.endswith(f"cannot read the CA certificates in {tmp_path}/none: No such file or directory")
    detail = problem(probes.run(requesting("https", ca=f"{tmp_path}/empty"), values))
    assert detail.endswith(f"{tmp_path}/empty has no CA certificate in PEM")


def test_https_of_a_server_without_tls(web):
    values, _, _ = web
    assert "SSL" in problem(probes.run(requesting("https"), values))


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x03\x40\x00"], ids=["nothing", "a record"])
def test_https_cuts_off_a_server_that_drips_its_handshake(raw, first):
    result = probes.run(requesting("https", timeout=0.3), raw(lambda c: drip(c, first)))
    assert "GET https://" in problem(result, at_most=2)


def test_https_cuts_off_an_answer_that_drips(certificate):
    context, _ = certificate
    with socket.create_server((ADDRESS, 0)) as server:

        def talk():
            with contextlib.suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as connection:
                drip(connection, b"HTTP/1.1 200 OK\r\nX-Long: ")

        threading.Thread(target=talk, daemon=True).start()
        where = {"address": ADDRESS, "port": server.getsockname()[1]}
        result = probes.run(requesting("https", timeout=0.5, insecure=True), where)
    assert "no whole answer within 0.5s" in problem(result, at_most=2)
