"""Others hear of a run: on the master's event bus, and at a webhook, be it there or not."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
from pathlib import Path

import pytest
import yaml

from tests.integration.conftest import MASTER
from tests.support.site import REPOSITORY, until
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
    target.archives.make("told", exit=1)
    receiver_of_ends = {"url": receiver.url, "headers": {"Authorization": f"Bearer {SECRET}"}, "events": ["end"]}
    target.define(notify={"webhook": receiver_of_ends})
    target.deploy("told", code=1)
    events = fired()
    assert last_parts(events) == ["begin", "install", "start", "stop", "end"]
    outcomes = [data["outcome"] for _, data in events]
    assert outcomes == ["", "done", "failed", "done", "reverted"]
    start, end = events[2][1], events[-1][1]
    assert "the database is missing" in start["error"] and "the database is missing" in end["error"]
    assert receiver.received == [{"tag": events[-1][0], "data": end}]


class Reaction:
    """The reactor of docs/howto/reactor.rst on the test's master; its command leaves a trace.

    :param listener: the bus's listener, which sees orchestrations end.
    """

    documented = REPOSITORY / "docs/howto/reactor"

    def __init__(self, folder, listener):
        self.listener, self.trace, self.command = listener, folder / "warmed-up", folder / "warm-up"
        [[(self.tag, [path])]] = [r.items() for r in yaml.safe_load(self._read("reactor.conf"))["reactor"]]
        self.reactor = folder / "reactors" / Path(path).name
        self.states = folder / "tree/reactions" / "shop_deployed.sls"

    def __enter__(self):
        self.command.write_text(f'#!/bin/sh\necho "$@" >> {self.trace}\n')
        self.command.chmod(0o755)
        for path in (self.states, self.reactor):
            path.parent.mkdir()
            path.write_text(self._read(path.name))
        return self

    def __exit__(self, *exc):
        self.reactor.unlink()

    def _read(self, name):
        text = (self.documented / name).read_text()
        return text.replace("production", "site").replace("/usr/local/bin/warm-up", str(self.command))

    def ended(self):
        """Return how many orchestrations have ended."""
        ends = [e for e in list(self.listener.store) if re.fullmatch(r"salt/run/\d+/ret", e.tag)]
        return sum(e.data.get("fun") == "runner.state.orchestrate" for e in ends)

    def lines(self):
        """Return what the command was called with."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []


def test_a_reactor_acts_on_true_deployments_and_on_nothing_that_a_minion_tells(
    target, folder, event_listener, fired, releases
):
    # It is in the history, and failed.
    target.archives.make("broken", exit=1)
    target.define()
    target.deploy("broken", code=1)
    marker = folder / "marker"
    evil = f"shop; id > {marker}"
    lie = {"app": evil, "verb": "deploy", "outcome": "done", "retcode": 0, "version": evil, "nodes": ["web1"]}
    newest = target.history()[-1].rsplit("/", 1)[1]
    with Reaction(folder, event_listener) as reaction:
        for told in (evil, f'"\n  - x: `id > {marker}`', {"a": [evil]}, newest):
            before, data = reaction.ended(), {**lie, "deployment": told}
            # As the runner's own events look; those of event.send have the data one level deeper.
            preload = {"events": [{"tag": reaction.tag, "data": data}]}
            target.call("web3", "event.fire_master", json.dumps(data), "x", f"preload={json.dumps(preload)}")
            until(lambda before=before: reaction.ended() > before, 60, f"the reaction to {told!r}")
        assert (reaction.lines(), marker.exists()) == ([], False)
        target.deploy(releases[1])
        until(lambda: len(reaction.lines()) >= 3, 30, "the reaction to a true deployment")
        assert fired()[-1][0] == reaction.tag
        assert reaction.lines() == [f"{NAME} {releases[1]}"] * 3
