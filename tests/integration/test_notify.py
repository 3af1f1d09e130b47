"""Others hear of a run: on the master's event bus, and at a webhook, be it there or not."""

from __future__ import annotations

import http.server
import json
import socket
import threading

import pytest

from tests.integration.conftest import MASTER
from tests.support.site import until
from tests.support.target import NAME

pytestmark = pytest.mark.usefixtures("users")

SECRET = "geheim"
WAVE = ["start", "test", "test", "publish", "healthy", "retire"]


class Receiver(http.server.ThreadingHTTPServer):
    """A webhook that takes in what its token is sent with."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?token={SECRET}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        allowed = self.headers["Authorization"] == f"Bearer {SECRET}" and self.path == f"/hook?token={SECRET}"
        if allowed:
            self.server.received.append(event)
        self.send_response(204 if allowed else 401)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def fired(event_listener, target):
    """Return what the last run fired on the master's bus, in its order, once its end is there: tags with their data."""

    def events():
        id = target.history()[-1].rsplit("/", 1)[1]
        ours = [e for e in list(event_listener.store) if e.daemon_id == MASTER and e.tag.startswith("saltdeploy/")]
        return [(e.tag, e.data) for e in ours if e.data["deployment"] == id]

    def ended():
        until(lambda: any(tag.endswith("/end") for tag, _ in events()), 30, "the event of the end")
        return events()

    return ended


def last_parts(events):
    return [tag.removeprefix(f"saltdeploy/site/{NAME}/") for tag, _ in events]


def test_all_is_told_in_its_order(target, receiver, fired, releases, folder):
    token = folder / "token"
    token.write_text(SECRET)
    webhook = {"url": receiver.url, "token_file": str(token)}
    target.define(notify={"webhook": webhook}, strategy={"keep_releases": 1000})
    # It is to be installed, whatever other tests left.
    target.cli.run("salt", "*", "app.remove", NAME, f"'{releases[1]}'")
    output = target.deploy(releases[1], "reason=a try")
    assert "did not arrive" not in output and SECRET not in output
    events = fired()
    assert last_parts(events) == ["begin", "install", *WAVE, *WAVE, "end"]
    assert receiver.received == [{"tag": tag, "data": data} for tag, data in events]

    about = {"app": NAME, "environment": "site", "version": releases[1], "verb": "deploy"}
    for number, (_, data) in enumerate(events, 1):
        assert {**about, "reason": "a try", "number": number, "error": ""}.items() <= data.items()
        assert "@" in data["owner"]
    begin, install, *phases, end = [data for _, data in events]
    nodes = ["web1", "web2", "web3"]
    assert begin["plan"] and begin["nodes"] == install["nodes"] == end["nodes"] == nodes
    assert [data["wave"] for data in phases] == [1] * len(WAVE) + [2] * len(WAVE)
    first, second = phases[0]["nodes"], phases[len(WAVE)]["nodes"]
    assert len(first) == 1 and sorted(first + second) == nodes
    assert {data["outcome"] for data in (install, *phases, end)} == {"done"}
    assert (end["retcode"], end["wave"]) == (0, None) and f"{NAME} {releases[1]} is published" in end["verdict"]


def test_a_webhook_that_is_gone_is_a_warning_and_the_deployment_is_done(target, fired, releases):
    with socket.socket() as bound:  # and not listening: connections to it are refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://me:{SECRET}@127.0.0.1:{bound.getsockname()[1]}/{SECRET}?token={SECRET}"
        target.define(notify={"webhook": {"url": url}}, strategy={"keep_releases": 1000})
        output = target.deploy(releases[1])
    count = len(fired())
    place = url.partition("@")[2].partition("/")[0]
    lost = f"{count} of {count} events did not arrive (ConnectionError: Connection refused)"
    assert f"warning: webhook http://{place}: {lost}" in output
    assert SECRET not in output and SECRET not in target.cli.deploy("history", NAME, "--out=json")[1]
    code, output = target.cli.run("salt", "*", "pillar.items", "unmask=True", "environments")
    assert code == 0 and "strategy" in output and SECRET not in output


def test_a_failure_is_told_and_how_it_ended(target, receiver, fired):
    target.archives.make("broken", exit=1)
    receiver_of_ends = {"url": receiver.url, "headers": {"Authorization": f"Bearer {SECRET}"}, "events": ["end"]}
    target.define(notify={"webhook": receiver_of_ends})
    target.deploy("broken", code=1)
    events = fired()
    assert last_parts(events) == ["begin", "install", "start", "stop", "end"]
    outcomes = [data["outcome"] for _, data in events]
    assert outcomes == ["", "done", "failed", "done", "reverted"]
    start, end = events[2][1], events[-1][1]
    assert "the database is missing" in start["error"] and "the database is missing" in end["error"]
    assert receiver.received == [{"tag": events[-1][0], "data": end}]
