"""Downloads go on where they broke off, never become a mixture, and leave only what can be gone on with."""

import gzip
import hashlib
import multiprocessing
import os
import resource
import threading

import pytest
from saltdeploy.core import limits
from saltdeploy.core.errors import Failed
from saltdeploy.source import downloads
from saltdeploy.source.downloads import Terms
from saltdeploy.system import disk

from tests.support.fileserver import Answer, serving

fork = multiprocessing.get_context("fork")
CONTENT = os.urandom(1 << 20)
HALF = len(CONTENT) // 2


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "partial"


def get(server, path, content=CONTENT, **kwargs):
    downloads.fetch_verified(server.url, path, digest(content), **kwargs)
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def broken_off(server, path, cut=HALF):
    """Leave a part: the server serves ``cut`` bytes, then it fails for good."""
    server.answers = [Answer(cut=cut), *[Answer(status=503)] * 3]
    with pytest.raises(Failed, match=r"cannot be fetched: the server answers 503 .*\(tried 4 times\)"):
        downloads.fetch_verified(server.url, path, digest(CONTENT))
    assert path.stat().st_size == cut
    server.asked.clear()


def test_a_good_download_asks_once(server, path):
    get(server, path)
    assert server.ranges == [None]


def test_cut_connections_are_gone_on_from(server, path):
    server.answers = [Answer(cut=HALF), Answer(cut=1000)]
    get(server, path)
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]
    assert [headers.get("If-Range") for headers in server.asked] == [None, '"one"', '"one"']


def test_what_broke_off_is_gone_on_from_by_the_next_call(server, path):
    broken_off(server, path)
    get(server, path)
    assert server.ranges == [f"bytes={HALF}-"]


def test_what_was_killed_is_gone_on_from_by_the_next_call(server, path):
    never = threading.Event()
    server.answers = [Answer(cut=HALF, wait=never)]
    process = fork.Process(target=downloads.fetch_verified, args=[server.url, path, digest(CONTENT)])
    process.start()
    while not (path.exists() and path.stat().st_size >= HALF // 2):
        assert process.is_alive()
        process.join(0.01)
    process.kill()
    process.join()
    never.set()
    begin = path.stat().st_size
    server.asked.clear()
    get(server, path)
    assert server.ranges == [f"bytes={begin}-"]


def test_killed_when_all_was_there_nothing_is_asked(server, path):
    broken_off(server, path)
    path.write_bytes(CONTENT)
    get(server, path)
    assert server.asked == []


def test_a_weak_tag_is_not_relied_on_but_the_date_is(server, path):
    server.headers["ETag"] = 'W/"one"'
    server.answers = [Answer(cut=HALF)]
    get(server, path)
    assert server.asked[1]["If-Range"] == server.headers["Last-Modified"]


def test_without_a_validator_it_is_fetched_whole_again(server, path):
    server.headers.clear()
    server.answers = [Answer(cut=HALF)]
    get(server, path)
    assert server.ranges == [None, None]


def test_from_another_url_it_is_fetched_whole_again(server, path):
    broken_off(server, path)
    server.url += ".mirror"
    get(server, path)
    assert server.ranges == [None]


def test_a_server_without_ranges_sends_all_again(server, path):
    server.answers = [Answer(cut=HALF), Answer(ranges=False)]
    get(server, path)
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_range_that_is_not_served_is_followed_by_the_whole(server, path):
    server.answers = [Answer(cut=HALF), Answer(status=416)]
    get(server, path)
    assert server.ranges == [None, f"bytes={HALF}-", None]


def test_another_range_than_was_asked_for_is_not_put_behind_what_is_there(server, path):
    server.answers = [Answer(cut=HALF), Answer(shift=10)]
    assert downloads.fetch(server.url, path) is False
    assert path.read_bytes() == CONTENT


def test_a_file_that_has_become_shorter_than_what_is_there(server, path):
    broken_off(server, path)
    server.content = CONTENT[: HALF - 1]
    get(server, path, server.content)
    assert server.ranges == [f"bytes={HALF}-", None]


def test_a_file_that_was_replaced_is_fetched_whole(server, path):
    broken_off(server, path)
    server.content, server.headers["ETag"], server.headers["Last-Modified"] = CONTENT[::-1], '"two"', ""
    get(server, path, CONTENT[::-1])
    assert server.ranges == [f"bytes={HALF}-"]


def test_a_mixture_of_two_files_is_fetched_once_more(server, path):
    """The server goes on with the new file's second half, without a look at If-Range."""
    broken_off(server, path)
    server.content, server.answers = CONTENT[::-1], [Answer(ranges="careless")]
    get(server, path, CONTENT[::-1])
    assert server.ranges == [f"bytes={HALF}-", None]


def test_a_wrong_digest_of_what_came_in_one_piece_fails_at_once(server, path):
    with pytest.raises(Failed, match=f"wrong digest: sha256 is {digest(CONTENT)}, the definition says 0000"):
        downloads.fetch_verified(server.url, path, "0" * 64)
    assert server.ranges == [None]
    assert list(path.parent.iterdir()) == []


def test_a_wrong_digest_of_pieces_fails_when_the_whole_is_wrong_too(server, path):
    server.answers = [Answer(cut=HALF)]
    with pytest.raises(Failed, match="wrong digest"):
        downloads.fetch_verified(server.url, path, "0" * 64)
    assert server.ranges == [None, f"bytes={HALF}-", None]
    assert list(path.parent.iterdir()) == []


def test_a_server_that_is_busy_is_asked_again(server, path):
    server.answers = [Answer(status=503), Answer(status=429), Answer(cut=0)]
    get(server, path)
    assert len(server.asked) == 4


def test_what_will_not_get_better_is_asked_once(server, path):
    broken_off(server, path)
    server.answers = [Answer(status=404)]
    with pytest.raises(Failed, match=r"shop\.tar: the server answers 404"):
        downloads.fetch_verified(server.url, path, digest(CONTENT))
    assert len(server.asked) == 1
    assert path.stat().st_size == HALF


def test_no_try_begins_after_the_deadline(server, path, monkeypatch):
    monkeypatch.setattr(limits, "WAITS", (60,))
    server.answers = [Answer(status=503)]
    with pytest.raises(Failed, match=r"tried 1 times"):
        downloads.fetch_verified(server.url, path, digest(CONTENT), Terms(seconds=30))


def test_what_is_stored_compressed_stays_so(server, path):
    """As Apache says of a .tgz."""
    server.content = gzip.compress(CONTENT[:1000])
    server.headers["Content-Encoding"] = "gzip"
    get(server, path, server.content)
    assert server.asked[0]["Accept-Encoding"] == "identity"


# -- room -------------------------------------------------------------------------------------


def test_room_is_asked_for_before_anything_is_written(server, path):
    asked = []

    def room(size, have):
        asked.append((size, have, path.exists()))
        if have:
            raise disk.NoRoom("full")

    server.answers = [Answer(cut=HALF)]
    with pytest.raises(disk.NoRoom):
        downloads.fetch_verified(server.url, path, digest(CONTENT), Terms(room))
    assert asked == [(len(CONTENT), 0, False), (len(CONTENT), HALF, True)]
    assert list(path.parent.iterdir()) == []


def _limited(server, path, result):
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))
    try:
        downloads.fetch_verified(server.url, path, digest(CONTENT))
    except OSError as exc:
        result.put(disk.is_full(exc))


def test_nothing_stays_where_it_cannot_be_written(server, path):
    result = fork.SimpleQueue()
    process = fork.Process(target=_limited, args=[server, path, result])
    process.start()
    process.join()
    assert not result.empty() and result.get() is True
    assert list(path.parent.iterdir()) == []


def test_size(server):
    assert downloads.size(server.url) == len(CONTENT)
    server.head = 403
    assert downloads.size(server.url) == len(CONTENT)
    assert downloads.size("http://127.0.0.1:1/") is None
