"""Downloads from servers that do what no server should: each ends in time, in bounds, and says why."""

import hashlib
import itertools
import os
import time

import pytest
from saltdeploy.core import limits
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import App, Source, Strategy
from saltdeploy.node.host import Host
from saltdeploy.source import artifacts, downloads
from saltdeploy.source.archive import Archive
from saltdeploy.source.downloads import Terms
from saltdeploy.source.web import Login
from saltdeploy.system import disk

from tests.support.rogue import certificate, drip, redirect, reply, rogue

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SECRET = {"Authorization": "Bearer hunter2"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "part"


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(tls, monkeypatch):
    """The server's side of TLS, which this process trusts."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[1]))
    return tls[0]


def failure(url, path, seconds=20, **terms):
    """Fetch ``url``, which fails; return what is said, once that took no longer than it may."""
    began = time.monotonic()
    with pytest.raises(Failed) as raised:
        downloads.fetch(url, path, Terms(seconds=seconds, **terms))
    assert time.monotonic() - began < seconds + 5
    return str(raised.value)


# -- time -------------------------------------------------------------------------------------

ENDLESS = {
    "a byte now and then": [HEAD + b"Content-Length: 1000000\r\n\r\n", *[b"x"] * 10000],
    "chunks of a byte": [CHUNKED, *[b"1\r\nx\r\n"] * 10000],
    "a chunk of bytes": [CHUNKED + b"ffffff\r\n", *[b"x"] * 10000],
    "an endless size of a chunk": [CHUNKED, *[b"0"] * 10000],
    "endless trailers": [CHUNKED + b"0\r\n", *[b"X: y\r\n"] * 10000],
    "endless headers": [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 10000],
    "a header without end": [b"HTTP/1.1 200 OK\r\nX: ", *[b"y"] * 10000],
    "a status without end": [b"H"] * 10000,
    "it is to go on": [b"HTTP/1.1 100 Continue\r\n\r\n"] * 10000,
    "nothing": [b""] * 10000,
    "nothing after the headers": [HEAD + b"Content-Length: 1000000\r\n\r\n", *[b""] * 10000],
}


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_a_download_ends_at_its_deadline_whatever_drips(path, pieces):
    with rogue(drip(pieces, 0.02)) as server:
        told = failure(server.url, path, 0.3)
    # A server that sends too many headers has had its tries before.
    assert "shop.tar: is not there after 0.3s" in told or "got more than 100 headers" in told


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_so_does_the_question_for_the_size(monkeypatch, pieces):
    monkeypatch.setattr(limits, "SMALL", 0.2)
    began = time.monotonic()
    with rogue(drip(pieces, 0.02)) as server:
        assert downloads.size(server.url) in (None, 1000000)
    assert time.monotonic() - began < 5


def test_over_tls_it_ends_as_well(path, trusted):
    with rogue(drip(ENDLESS["a byte now and then"], 0.02), trusted) as server:
        assert "is not there after 0.3s" in failure(server.url, path, 0.3)


def test_a_server_that_never_ends_its_handshake(path, trusted, monkeypatch):
    monkeypatch.setattr(limits, "CONNECT", 0.3)
    with rogue(reply()) as server:
        told = failure(server.url.replace("http:", "https:"), path, 3)
    assert "cannot be fetched" in told or "is not there after" in told


def test_a_connection_that_is_too_slow_is_given_up_before_the_deadline(path, monkeypatch):
    monkeypatch.setattr(limits, "WINDOW", 0.2)
    with rogue(drip(ENDLESS["a byte now and then"], 0.01)) as server:
        told = failure(server.url, path, 20)
    assert "the server sent " in told and "less than 1000 bytes a second (tried 4 times)" in told


def test_a_slow_connection_that_is_fast_enough_is_left_alone(path, monkeypatch):
    """The window begins anew, again and again."""
    monkeypatch.setattr(limits, "WINDOW", 0.1)
    pieces = [HEAD + b"Content-Length: 40000\r\n\r\n", *[b"x" * 1000] * 40]
    with rogue(drip(pieces, 0.01)) as server:
        downloads.fetch(server.url, path, Terms(seconds=20))
    assert path.stat().st_size == 40000


def test_headers_that_do_not_come_are_given_up_before_the_deadline(path, monkeypatch):
    monkeypatch.setattr(limits, "HEADERS", 0.1)
    with rogue(drip([b"HTTP/1.1 200 OK\r\nX: ", *[b"y"] * 1000], 0.02)) as server:
        told = failure(server.url, path, 20)
    assert "did not send the headers of its answer within 0.1s (tried 4 times)" in told


def test_headers_at_full_speed_have_an_end(path):
    with rogue(drip(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), 0)) as server:
        assert "the headers of the answer have more than 262 kB" in failure(server.url, path, 20)


def test_what_came_in_time_stays_for_the_next_call(path):
    content = os.urandom(50_000)
    head = HEAD + b'ETag: "one"\r\nContent-Length: 50000\r\n\r\n'
    with rogue(drip([head + content[:20_000], *[b""] * 1000], 0.02)) as server:
        assert "is not there after 0.3s: 20 kB came" in failure(server.url, path, 0.3)
        assert path.read_bytes() == content[:20_000]
        rest = {"Content_Range": "bytes 20000-49999/50000", "ETag": '"one"'}
        server.answer = reply(content[20_000:], "206 Partial Content", **rest)
        assert downloads.fetch(server.url, path) is True
    assert path.read_bytes() == content


def test_a_release_s_deadline_is_the_strategy_s(tmp_path):
    """So that the reason is told before the master gives up, and the next deployment is not held up."""
    with rogue(drip(ENDLESS["a byte now and then"], 0.05)) as server:
        source = Source("archive", server.url, sha256="0" * 64)
        app = App("shop", source, "run", strategy=Strategy(progress_deadline=1.0))
        began = time.monotonic()
        with pytest.raises(Failed, match=r"shop\.tar: is not there after 0\.5s: \d+ B came"):
            Host("web1", tmp_path / "srv").releases.install(app, "1.0", None)
    assert time.monotonic() - began < 8


# -- bytes ------------------------------------------------------------------------------------


def endless(size=1 << 16):
    return (b"%x\r\n%b\r\n" % (size, b"x" * size) for _ in itertools.count())


def test_room_is_looked_for_while_bytes_come_that_nobody_announced(path):
    taken = []

    def take(size):
        taken.append(size)
        if sum(taken) > 1 << 20:
            raise disk.NoRoom("no room")

    with rogue(drip(itertools.chain([CHUNKED], endless()), 0)) as server, pytest.raises(disk.NoRoom):
        downloads.fetch(server.url, path, Terms(take=take))
    assert list(path.parent.iterdir()) == []
    assert sum(taken) < (1 << 20) + (1 << 17)


def test_an_archive_without_end_leaves_the_reserve_free(tmp_path, monkeypatch):
    """The disk is a figure here: what is taken is counted, and at the reserve it ends."""
    used = []
    monkeypatch.setattr(disk, "space", lambda folder: disk.Space(3_000_000 - sum(used), 10_000_000))
    monkeypatch.setattr(disk.Meter, "take", _counting(disk.Meter.take, used))
    with rogue(drip(itertools.chain([CHUNKED], endless()), 0)) as server:
        kept = artifacts.Artifacts(tmp_path, "shop", tmp_path)
        with kept, pytest.raises(disk.NoRoom, match="500 kB must stay free"):
            kept.get(server.url, "0" * 64)
    assert 2_300_000 < sum(used) <= 2_500_000
    assert [p for p in (tmp_path / ".downloads").iterdir() if "partial" in p.name] == []


def _counting(take, used):
    def counted(meter, size, files=0):
        take(meter, size, files)
        used.append(size)

    return counted


def test_a_file_of_digests_without_end(tmp_path):
    with rogue(drip(itertools.chain([CHUNKED], endless()), 0)) as server:
        source = Source("archive", server.url, sha256=server.url + ".sha256")
        with pytest.raises(Failed, match="shop.tar.sha256: is larger than 1.0 MB"):
            Archive(source).find_digest("1.0", tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_digests_that_says_it_is_large(tmp_path):
    with rogue(reply(b"", Content_Length=1 << 40)) as server:
        source = Source("archive", "/shop.tar", sha256=server.url)
        with pytest.raises(Failed, match="shop.tar: is larger than 1.0 MB"):
            Archive(source).find_digest("1.0", tmp_path, None)


def test_a_large_local_file_of_digests(tmp_path):
    (tmp_path / "sums").write_bytes(bytes(2 << 20))
    with pytest.raises(Failed, match="sums: is larger than 1.0 MB"):
        Archive(Source("archive", "/shop.tar", sha256=f"{tmp_path}/sums")).find_digest("1.0", tmp_path, None)


def test_the_size_of_a_chunk_takes_no_memory(path, monkeypatch):
    """A line of any length, at full speed."""
    monkeypatch.setattr(limits, "WAITS", ())
    with rogue(drip(itertools.chain([CHUNKED], itertools.repeat(b"0" * (1 << 16))), 0)) as server:
        told = failure(server.url, path, 20)
    assert "the connection broke off" in told


# -- redirects --------------------------------------------------------------------------------


def test_redirects_are_followed(path):
    with rogue(reply(b"shop")) as last, rogue(redirect(last.url, "307 Temporary Redirect")) as first:
        downloads.fetch(first.url, path)
        assert downloads.size(first.url) == 4
    assert path.read_bytes() == b"shop"


def test_a_redirect_may_be_relative(path):
    def answer(server, connection, request):
        (redirect("/other") if "/shop.tar" in request else reply(b"other"))(server, connection, request)

    with rogue(answer) as server:
        downloads.fetch(server.url, path)
    assert path.read_bytes() == b"other"


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_https_is_never_left(path, trusted, tmp_path, status):
    """Archive, digest and size: who is on the way could answer any of them."""
    with rogue(reply(b"forged")) as forger, rogue(redirect(forger.url, status), trusted) as server:
        told = failure(server.url, path)
        with pytest.raises(Failed, match="from https to http"):
            downloads.size(server.url)
        with pytest.raises(Failed, match="from https to http"):
            Archive(Source("archive", "/shop.tar", sha256=server.url)).find_digest("1.0", tmp_path, None)
    assert "shop.tar: the server redirects from https to http, at localhost: refused" in told
    assert forger.asked == [] and not path.exists()


def test_https_is_not_left_by_a_detour(path, trusted):
    with (
        rogue(reply(b"forged")) as forger,
        rogue(redirect(forger.url), trusted) as second,
        rogue(redirect(second.url), trusted) as first,
        rogue(redirect(first.url)) as begin,
    ):
        assert "from https to http" in failure(begin.url, path)
    assert forger.asked == []


def test_http_may_become_https(path, trusted):
    with rogue(reply(b"shop"), trusted) as server, rogue(redirect(server.url)) as begin:
        downloads.fetch(begin.url, path)
    assert path.read_bytes() == b"shop"


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://localhost/x", "https:///x", "salt://x", "javascript:1"]
)
def test_a_redirect_to_something_else(path, target):
    with rogue(redirect(target)) as server:
        assert "redirects to no http:// or https:// URL" in failure(server.url, path)


def test_redirects_have_an_end(path):
    with rogue(None) as server:
        server.answer = redirect(server.url)
        assert "the server redirects more than 10 times" in failure(server.url, path, 20)
        assert len(server.asked) == 11


def test_a_certificate_that_nobody_trusts_is_no_reason_to_try_again(path, tls):
    with rogue(reply(b"forged"), tls[0]) as server:
        told = failure(server.url, path, 20)
    assert "cannot be fetched" in told and "certificate" in told.lower() and "tried" not in told


# -- secrets ----------------------------------------------------------------------------------


def authorized(server):
    return [line for request in server.asked for line in request.split("\r\n") if "hunter2" in line]


def test_headers_are_for_one_server_only(path):
    with rogue(reply(b"shop")) as other, rogue(redirect(other.url)) as server:
        downloads.fetch(server.url, path, Terms(login=Login(SECRET)))
        assert downloads.size(server.url, Login(SECRET)) == 4
    assert authorized(server) == ["Authorization: Bearer hunter2"] * 2
    assert len(other.asked) == 2 and authorized(other) == []


def test_headers_go_on_with_a_redirect_on_the_same_server(path):
    def answer(server, connection, request):
        (redirect("/other") if "/shop.tar" in request else reply(b"other"))(server, connection, request)

    with rogue(answer) as server:
        downloads.fetch(server.url, path, Terms(login=Login(SECRET)))
    assert len(authorized(server)) == 2


def test_headers_do_not_go_from_https_to_http_nor_the_other_way(path, trusted):
    with rogue(reply(b"shop"), trusted) as server, rogue(redirect(server.url)) as begin:
        downloads.fetch(begin.url, path, Terms(login=Login(SECRET)))
    assert authorized(server) == []


def test_a_password_in_a_redirect_is_neither_sent_nor_shown(path):
    with rogue(reply(status="404 Not Found")) as other, rogue(None) as server:
        server.answer = redirect(other.url.replace("//", "//joe:hunter2@") + "?signature=hunter2")
        assert "hunter2" not in failure(server.url, path)
    assert not any("uthorization" in request for request in other.asked)


@pytest.mark.parametrize(
    "target", ["http://localhost:1/x?signature=hunter2", "http://[::bad/?hunter2", "http://a..b/hunter2"]
)
def test_where_a_redirect_fails_its_url_is_not_shown(path, target):
    with rogue(redirect(target)) as server:
        assert "hunter2" not in failure(server.url, path, 20)


def test_no_netrc_is_read_that_nobody_named(path, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine localhost login joe password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with rogue(reply(b"shop")) as server:
        downloads.fetch(server.url, path)
    assert "uthorization" not in server.asked[0]


def planted(folder):
    """Return the files below ``folder`` with a secret in them."""
    return [p for p in folder.rglob("*") if p.is_file() and b"hunter2" in p.read_bytes()]


def test_no_secret_is_left_on_the_node(tmp_path):
    """Neither of an installation that succeeds, nor of one that fails, nor of one that broke off."""
    from tests.unit.source.test_artifacts import archive

    content = archive()
    url_secret = "?signature=hunter2"
    with rogue(reply(content, ETag='"one"')) as server:
        given = Source("archive", server.url + url_secret, sha256=hashlib.sha256(content).hexdigest(), headers=SECRET)
        node = Host("web1", tmp_path / "srv")
        assert node.releases.install(App("shop", given, "run"), "1.0", None) is True
        assert authorized(server)
        server.answer = drip([HEAD + b'ETag: "two"\r\nContent-Length: 1000\r\n\r\nx'], 0)
        broken = Source(**{**given.__dict__, "sha256": "1" * 64})
        with pytest.raises(Failed) as raised:
            node.releases.install(App("shop", broken, "run"), "2.0", None)
    assert "hunter2" not in str(raised.value)
    assert planted(tmp_path) == []
    assert list((tmp_path / "srv/.downloads").glob("*.partial"))
