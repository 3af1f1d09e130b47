"""What a newcomer is told works: the page's definitions, and one machine that is everything."""

from __future__ import annotations

import http.server
import importlib.machinery
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import threading
import typing
import urllib.error
import urllib.request
from pathlib import Path

import jinja2
import pytest
import yaml
from saltdeploy import definition
from saltdeploy.core import addresses
from saltdeploy.definition import cautions, cluster
from saltdeploy.environment.secretstore import Secrets

from tests.support.site import until

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/howto/own-master.rst").read_text()
STATES = jinja2.Template((ROOT / "salt/top.sls").read_text())


@pytest.fixture(scope="module")
def production():
    """The environment that docs/howto/own-master.rst shows."""
    [block] = re.findall(r"\n +environments:\n((?:       .*\n)+)", PAGE)
    return yaml.safe_load(block)["production"]


@pytest.fixture(scope="module")
def apps():
    return yaml.safe_load((ROOT / "docs/tutorial/hello.sls").read_text())["apps"]


def states(node, environment):
    """Return the states that highstate applies on ``node``."""
    pillar = {"environments": {"production": environment}, "saltdeploy_consul": {"version": "1"}}
    return yaml.safe_load(STATES.render(pillar=pillar, opts={"id": node}))["base"]["*"]


@pytest.fixture(params=[3, 1])
def site(request, production):
    """The page's environment, and with one machine only."""
    return {**production, "nodes": dict(list(production["nodes"].items())[: request.param])}


def test_the_pages_definition_is_valid(site, apps):
    found = definition.load({"apps": apps, "environments": {"production": site}})
    hello = definition.find_app(found, "hello")
    assert sorted(found.eligible(hello)) == list(site["nodes"]) == ["m1", "m2", "m3"][: len(site["nodes"])]
    assert hello.source.location.startswith("salt://") and cautions.of(hello) == []


def test_a_machine_may_be_master_server_load_balancer_and_node_at_once(site, tmp_path):
    names, count = list(site["nodes"]), len(site["nodes"])
    secrets = Secrets(tmp_path / "s").get("production", cluster.identities("production", site), ["hello"])
    for name in names:
        assert states(name, site) == ["consul", "dns", "loadbalancer", "app"]
        about = cluster.node("production", site, name, secrets, ["hello"])
        config = about["config"]
        assert (config["server"], config["bootstrap_expect"]) == (True, count)
        assert config["retry_join"] == [site["nodes"][n]["address"] for n in names if n != name]
        assert list(about["app_tokens"]) == ["hello"] and ("management" in about) == (name == "m1")
    [address, *_] = cluster.discovery_of_master(site, secrets, "ca")["consul"]["servers"]
    assert address == f"https://{site['nodes']['m1']['address']}:8501"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_pages_app_answers_at_the_address_that_it_is_given(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as free:
        free.bind((address, 0))
        port = free.getsockname()[1]
    given = {**os.environ, "ADDRESS": address, "PORT": str(port), "VERSION": "1.0.0"}
    process = subprocess.Popen([sys.executable, ROOT / "docs/tutorial/hello"], env=given, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answered(address, port) == "hello from release 1.0.0\n", 20, "the app to answer")
    finally:
        process.kill()
        process.wait()


def answered(address, port):
    """Return the app's answer; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{addresses.join(address, port)}/", timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return None


def test_files_that_the_page_names_are_there():
    named = re.findall(r"/opt/saltdeploy/([\w./-]+\w)", PAGE)
    assert len(named) >= 5 and [n for n in named if not (ROOT / n).exists()] == []


def test_steps_that_readme_and_pages_refer_to_are_numbered_so():
    assert re.findall(r"^(\d)\. (\w+)", PAGE, re.MULTILINE) == [
        ("1", "Install"),
        ("2", "Install"),
        ("3", "Make"),
        ("4", "Describe"),
        ("5", "Set"),
        ("6", "Deploy"),
        ("7", "Deploy"),
    ]


class Chat(http.server.BaseHTTPRequestHandler):
    """Refuses what Slack refuses."""

    received: typing.ClassVar = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if set(body) == {"text"}:
            self.received.append(body["text"])
        self.send_response(200 if set(body) == {"text"} else 400)
        self.end_headers()

    def log_message(self, *args):
        pass


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


def post(url, event):
    """Return the status of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(event).encode()), timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as exc:
        return exc.code


def test_the_relay_tells_a_chat_what_the_webhook_sends(monkeypatch):
    loader = importlib.machinery.SourceFileLoader("chat_relay", str(ROOT / "docs/howto/chat-relay"))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    relay = importlib.util.module_from_spec(importlib.util.spec_from_loader("chat_relay", loader))
    loader.exec_module(relay)
    monkeypatch.setattr(relay.Relay, "log_message", lambda *args: None)
    (chat, chat_url), (server, url) = serve(Chat), serve(relay.Relay)
    try:
        monkeypatch.setenv("CHAT_URL", chat_url)
        data = {"app": "shop", "version": "1.0", "outcome": "done", "verdict": "shop 1.0 is published <!channel>"}
        event = {"tag": "saltdeploy/production/shop/end", "data": data}
        assert post(chat_url, event) == 400
        assert post(url, event) == 200
        assert Chat.received == ["shop 1.0 is published &lt;!channel&gt;"]
        monkeypatch.setenv("CHAT_URL", "http://127.0.0.1:9/")
        assert post(url, event) == 502
    finally:
        for each in (chat, server):
            each.shutdown()
            each.server_close()
