"""Probes against real servers and processes: good ones, wrong ones, and those that never end."""

import http.server
import os
import signal
import socket
import threading
import time

import pytest
from saltdeploy.core.model import App, Environment, Probe, Source
from saltdeploy.definition import appdefinition
from saltdeploy.system import probes, processes
from saltdeploy.system.probes import httpprobe

ADDRESS = "127.0.0.1"


def probe(kind, target="", timeout=5.0, **more):
    return Probe(kind, target, timeout=timeout, **more)


@pytest.fixture
def web():
    """Serve ``{path: (status, headers, body)}``; anything else is a 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            status, headers, body = pages.get(self.path, (404, {}, b"not found"))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    pages, asked = {"/": (200, {}, b"Welcome to the shop")}, []
    with http.server.ThreadingHTTPServer((ADDRESS, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield {"address": ADDRESS, "port": server.server_port}, pages, asked
        server.shutdown()


@pytest.fixture
def raw():
    """Serve one connection with a function of it; closed connections end what it writes."""
    servers = []

    def serve(talk):
        server = socket.create_server((ADDRESS, 0))
        servers.append(server)
        threading.Thread(target=_talk, args=[server, talk], daemon=True).start()
        return {"address": ADDRESS, "port": server.getsockname()[1]}

    yield serve
    for server in servers:
        server.close()


def _talk(server, talk):
    try:
        with server.accept()[0] as connection:
            connection.recv(10000)
            talk(connection)
    except OSError:
        pass


def drip(connection, first):
    """Send ``first``, then a byte now and then for as long as anybody listens."""
    connection.sendall(first)
    while True:
        time.sleep(0.02)
        connection.sendall(b"x")


def wait_until(true):
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def ok(result):
    assert result["ok"], result
    return result["detail"]


def problem(result, at_most=None):
    assert result["ok"] is False, result
    if at_most:
        assert result["seconds"] < at_most
    return result["detail"]


# -- http -------------------------------------------------------------------------------------


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


# -- tcp --------------------------------------------------------------------------------------


def test_tcp(web):
    values, _, _ = web
    result = probes.run(probe("tcp"), values)
    assert ok(result) == "connected"


def test_tcp_refused():
    assert "127.0.0.1:1: Connection refused" in problem(probes.run(probe("tcp"), {"address": ADDRESS, "port": 1}))


def test_tcp_gives_up_where_nobody_accepts():
    """A listener whose queue is full answers no further handshake."""
    with socket.socket() as server:
        server.bind((ADDRESS, 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        result = probes.run(probe("tcp", timeout=0.3), {"address": ADDRESS, "port": server.getsockname()[1]})
        for one in waiting:
            one.close()
    assert "timed out" in problem(result, at_most=2)


# -- command ----------------------------------------------------------------------------------


def run_command(path, command, timeout=10.0, **options):
    values = {"release": str(path), "address": ADDRESS, "port": 8080}
    return probes.run(probe("command", command, timeout), values, **options)


def test_command_runs_in_the_release(tmp_path):
    (tmp_path / "selftest").write_text("#!/bin/sh\necho tested $1 in $PWD\n")
    (tmp_path / "selftest").chmod(0o755)
    result = run_command(tmp_path, "./selftest http://{address}:{port}")
    assert ok(result) == f"tested http://127.0.0.1:8080 in {tmp_path.resolve()}"
    assert result["test"] == "command ./selftest http://{address}:{port}"


def test_command_is_no_shell_and_its_words_stay_words(tmp_path):
    values = {"release": str(tmp_path), "address": "a b; echo $HOME"}
    result = probes.run(probe("command", "printf '%s|' {address} x"), values)
    assert ok(result) == "a b; echo $HOME|x|"


def test_command_sees_the_instance_s_environment_and_nothing_of_the_minion_s(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "root's")
    seen = ok(run_command(tmp_path, "env", env={"OWN": "mine"})).splitlines()
    names = {line.partition("=")[0] for line in seen}
    assert names == {"OWN", "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"} and "OWN=mine" in seen


def test_what_hangs_is_killed_with_children_that_made_a_session_of_their_own(tmp_path):
    command = f"sh -c 'setsid sleep 300 & echo $! > {tmp_path}/pid; sleep 300'"
    assert "hangs: killed after 0.5s" in run_command(tmp_path, command, timeout=0.5)["detail"]
    pid = int((tmp_path / "pid").read_text())
    give_up = time.monotonic() + 5
    while processes.read(pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert processes.read(pid) is None


def test_command_has_no_input(tmp_path):
    assert ok(run_command(tmp_path, "cat")) == ""


def test_command_that_fails_shows_its_last_output(tmp_path):
    detail = problem(run_command(tmp_path, "sh -c 'seq 1000; echo broken >&2; exit 3'"))
    assert detail.startswith("`sh -c 'seq 1000; echo broken >&2; exit 3'` ended with 3: ")
    assert detail.endswith("999\n1000\nbroken")
    assert len(detail) < 400


def test_command_that_is_killed(tmp_path):
    assert "ended with -9" in problem(run_command(tmp_path, "sh -c 'kill -9 $$'"))


def test_command_that_is_not_there(tmp_path):
    assert problem(run_command(tmp_path, "./selftest")) == "./selftest: No such file or directory"


def test_command_that_prints_no_text(tmp_path):
    assert "\ufffd" in ok(run_command(tmp_path, "printf '\\377'"))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_command_that_hangs_is_killed_with_its_children(tmp_path):
    detail = problem(run_command(tmp_path, "sh -c 'sleep 60 & echo $! > child; wait'", timeout=0.5), at_most=5)
    assert detail == "`sh -c 'sleep 60 & echo $! > child; wait'` hangs: killed after 0.5s"
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_that_leaves_a_child_with_its_output_hangs_and_both_end(tmp_path):
    assert "hangs" in problem(run_command(tmp_path, "sh -c 'sleep 60 & echo $! > child'", timeout=0.5), at_most=5)
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_whose_child_escapes_does_not_hang_the_probe(tmp_path):
    script = """sh -c 'setsid sh -c "echo \\$\\$ > child; exec sleep 60" & sleep 60'"""
    result = run_command(tmp_path, script, timeout=0.5)
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
    assert "hangs" in problem(result, at_most=5)


def test_command_that_prints_without_end_is_killed_with_its_children(tmp_path):
    detail = problem(run_command(tmp_path, "sh -c 'yes & echo $! > child; wait'", timeout=0.5), at_most=10)
    assert detail.endswith("hangs: killed after 0.5s")
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: not alive(child))


def test_command_that_closes_its_output_and_goes_on_hangs(tmp_path):
    assert "hangs" in problem(run_command(tmp_path, "sh -c 'exec sleep 60 >&- 2>&-'", timeout=0.5), at_most=5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_command_runs_as_the_app_s_user(tmp_path):
    tmp_path.chmod(0o755)
    assert ok(run_command("/", "id -un", user="nobody")) == "nobody"
    assert ok(run_command("/", "id -Gn", user="nobody")) == "nogroup"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_command_of_a_user_that_is_not_there():
    assert problem(run_command("/", "true", user="no-such-user")) == "there is no user no-such-user on this node"


# -- kinds and many -------------------------------------------------------------------------------------


def test_each_kind_of_a_definition_has_a_class():
    assert set(probes.KINDS) == set(appdefinition.TESTS)


def test_run_from_asks_each_target_the_tests_of_that_origin(web):
    values, _, asked = web
    tests = (probe("http", "/", origin="peer"), probe("tcp"), probe("http", "/gone", origin="master"))
    app = App("shop", Source("pip", "shop"), "run", tests=tests)
    targets = [
        {"id": "shop_1_1", "node": "web1", **values},
        {"id": "shop_1_2", "node": "web2", "address": ADDRESS, "port": 1},
    ]
    results = probes.run_from("peer", Environment("e", {}, {}), app, targets)
    assert [len(r) for r in results.values()] == [1, 1]
    assert ok(results["shop_1_1@web1"][0]) == "status 200"
    assert results["shop_1_1@web1"][0]["test"] == "http / from peer"
    assert "refused" in problem(results["shop_1_2@web2"][0])
    assert [path for path, _ in asked] == ["/"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_by_ipv6():
    """Messages have the address as a URL has it."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        where = {"address": "::1", "port": server.getsockname()[1]}
        assert probes.run(probe("tcp"), where)["ok"]
        server.accept()[0].close()
        answer = [server, lambda connection: connection.sendall(b"HTTP/1.0 500 Oh\r\n\r\n")]
        threading.Thread(target=_talk, args=answer, daemon=True).start()
        failed = probes.run(probe("http", "/health"), where)["detail"]
    assert failed == f"GET http://[::1]:{where['port']}/health: status 500, expected 200"
    refused = probes.run(probe("tcp"), where)["detail"]
    assert refused.startswith(f"[::1]:{where['port']}: ")


def test_an_answer_is_told_without_the_values_of_env(web):
    values, pages, _ = web
    pages["/who"] = (200, {}, b"shop with hunter2")
    test = Probe("http", "/who", origin="master", contains="nobody")
    app = App("shop", Source("pip", "shop"), "run", tests=(test,), env={"PASSWORD": "hunter2"})
    target = {"id": "shop_1.0_100", "node": "web1", **values}
    [[result]] = probes.run_from("master", Environment("e", {}, {}), app, [target]).values()
    assert not result["ok"] and result["detail"].endswith("does not contain 'nobody': 'shop with ***'")
