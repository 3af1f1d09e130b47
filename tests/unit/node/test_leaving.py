"""An agent leaves its cluster only if nobody needs it."""

from __future__ import annotations

import json
import re

import pytest
from saltdeploy.core.errors import Failed, Refused
from saltdeploy.node import leaving
from saltdeploy.node.leaving import Seen, Service

LISTED = {
    "saltdeploy_consul": {"version": "1"},
    "environments": {"site": {"nodes": {"a": {"roles": ["consul-server"]}}}},
}
CONFIG = {"node_name": "a", "acl": {"tokens": {"dns": "looks"}}}


@pytest.mark.parametrize(
    "server, seen, told",
    [
        (False, Seen([], 3, ["b", "c", "d"]), "^$"),
        (False, Seen(["web_1.0_0", "postgres"], 3, ["b"]), "services in Consul: web_1.0_0, postgres. Apply app.clean"),
        (True, Seen([], 3, ["b", "c"]), "^$"),
        (True, Seen([], 2, ["b"]), "^$"),
        (True, Seen([], 3, ["b"]), r"of 2 other servers, 1 run \(b\), and 2 must"),
        (True, Seen([], 5, ["b", "c", "d"]), "^$"),
        (True, Seen([], 5, ["b", "c"]), "of 4 other servers, 2 run"),
        (True, Seen([], 3, []), r"0 run \(none\)"),
        (True, Seen([], 1, []), "the last server .* salt a service.stop consul"),
    ],
)
def test_an_agent_that_is_needed_stays(server, seen, told):
    assert re.search(told, leaving.needed("a", {}, server, seen))


def test_a_server_stays_while_the_environment_has_it_as_a_server():
    """So a command to all servers at once harms nobody."""
    assert "role consul-server in environment site" in leaving.needed("a", LISTED, True, Seen([], 3, ["b", "c"]))
    # Somebody else sets up its Consul.
    assert not leaving.needed("a", {**LISTED, "saltdeploy_consul": None}, True, Seen([], 3, ["b", "c"]))
    assert not leaving.needed("b", LISTED, True, Seen([], 3, ["a", "c"]))


class Agent:
    """Stands for the agent: it knows a token once it has read its configuration again, and then leaves."""

    def __init__(self, folder):
        self.folder, self.up, self.known, self.tokens, self.services = folder, True, "", [], []

    def service(self):
        return Service(lambda: self.up, self.reload)

    def reload(self):
        path = self.folder / "leave.json"
        self.known = json.loads(path.read_text())["acl"]["tokens"]["agent_recovery"] if path.exists() else ""

    def __call__(self, urls, token):
        self.tokens.append(token)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def seen(self, own):
        return Seen(self.services, 3, ["b", "c"])

    def leave(self):
        self.up = self.known != self.tokens[-1]
        return not self.up


@pytest.fixture
def agent(tmp_path, monkeypatch):
    made = Agent(tmp_path)
    (tmp_path / "consul.json").write_text(json.dumps(CONFIG))
    (tmp_path / "consul.service").write_text("# Written by saltdeploy; changes are lost.\n")
    monkeypatch.setattr(leaving, "ETC", tmp_path)
    monkeypatch.setattr(leaving, "UNIT", tmp_path / "consul.service")
    monkeypatch.setattr(leaving, "USERS", {str(tmp_path / "haproxy.cfg"): "loadbalancer.clean"})
    monkeypatch.setattr(leaving, "Agent", made)
    monkeypatch.setattr(leaving, "RELOADED", 0.0)
    return made


def test_the_agent_leaves_with_a_token_of_this_moment(agent, tmp_path):
    assert leaving.leave("a", {}, agent.service(), test=True) and agent.up and agent.tokens == ["looks"]
    assert leaving.leave("a", {}, agent.service()) and not agent.up
    assert not (tmp_path / "leave.json").exists()
    assert not leaving.leave("a", {}, agent.service())


def test_the_agent_of_somebody_else_stays(agent, tmp_path):
    (tmp_path / "consul.service").write_text("[Unit]\n")
    assert not leaving.leave("a", {}, agent.service()) and agent.up


def test_the_agent_stays_while_a_part_of_the_node_asks_it(agent, tmp_path):
    (tmp_path / "haproxy.cfg").write_text("# Written by saltdeploy; changes are lost.\n")
    with pytest.raises(Refused, match="Apply loadbalancer.clean first"):
        leaving.leave("a", {}, agent.service())
    assert agent.up and agent.tokens == ["looks"]


def test_no_token_is_left_where_the_agent_does_not_leave(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(agent, "leave", lambda: False)
    with pytest.raises(Failed, match="does not accept its own token"):
        leaving.leave("a", {}, agent.service())
    assert not (tmp_path / "leave.json").exists() and agent.known == ""
