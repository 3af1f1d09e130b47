"""Consul as service discovery: services, keys and locks, against servers that answer as Consul may."""

from __future__ import annotations

import json
import sys
import threading
import time

import pytest
from saltdeploy import discovery
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, Refused
from saltdeploy.core.model import AGENT
from saltdeploy.discovery import consul

from tests.support.catalog import entry


@pytest.mark.parametrize("value", [None, "text", {"a": [1, "ü", None]}, []])
def test_values_of_keys_are_read_as_they_were_written(value):
    assert consul._value({"Value": consul._encode(value)}) == value


def test_an_empty_key_has_no_value():
    assert consul._value({"Value": None}) is None


def test_connect_to_the_node_s_own_agent():
    config = {"consul": {"agent": "http://{address}:8501", "servers": ["http://10.9.9.9:8500"]}}
    assert discovery.connect(config, "10.0.0.1").urls == ["http://10.0.0.1:8501"]


def test_connect_to_an_agent_by_ipv6():
    config = {"consul": {"agent": "http://{address}:8501"}}
    with discovery.connect(config, "fd00::11") as connected:
        assert connected.urls == ["http://[fd00::11]:8501"]
        assert [client.base_uri for client in connected._clients] == ["http://[fd00::11]:8501"]


def test_connect_to_the_servers_from_the_master():
    servers = ["http://10.9.9.8:8500", "http://10.9.9.9:8500"]
    with discovery.connect({"consul": {"servers": servers, "datacenter": "dc2"}}) as connected:
        assert (connected.urls, connected.datacenter) == (servers, "dc2")


@pytest.mark.parametrize("address", [None, "10.0.0.1"])
def test_connect_by_default(address):
    assert discovery.connect({"consul": {}}, address).urls == [AGENT]


LEADER = {"GET /v1/status/leader": (200, '"10.0.0.1:8300"'), "GET /v1/kv/deploy/": (404, "")}
DEAD = "http://127.0.0.1:1"


def test_a_write_and_what_is_removed_are_one_fenced_transaction(serve):
    url, asked = serve({"PUT /v1/txn": (200, "{}")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1}, "lock", "s1", ["b", "c"]) is True
    [verbs] = [[v["KV"] for v in json.loads(body)] for *_, body in asked]
    assert [(v["Verb"], v["Key"]) for v in verbs] == [
        ("check-session", "lock"),
        ("set", "a"),
        ("delete", "b"),
        ("delete", "c"),
    ]


def test_what_has_no_room_in_one_transaction_goes_into_more_each_fenced(serve):
    url, asked = serve({"PUT /v1/txn": (200, "{}")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1}, "lock", "s1", [f"old{n}" for n in range(130)])
    sent = [[v["KV"] for v in json.loads(body)] for *_, body in asked]
    assert [len(verbs) for verbs in sent] == [64, 64, 6]
    assert {verbs[0]["Verb"] for verbs in sent} == {"check-session"}
    assert sent[0][1]["Verb"] == "set"
    assert [v["Key"] for verbs in sent for v in verbs if v["Verb"] == "delete"] == [f"old{n}" for n in range(130)]


def test_after_a_lost_lock_nothing_more_is_removed(serve):
    url, asked = serve({"PUT /v1/txn": (409, "{}")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1}, "lock", "s1", [f"old{n}" for n in range(130)]) is False
    assert len(asked) == 1


def test_keys(serve):
    url, asked = serve({"GET /v1/kv/a/": (200, '["a/b", "a/c"]')})
    with consul.Consul([url]) as client:
        assert client.keys("a/") == ["a/b", "a/c"]
        assert client.keys("x/") == []
    assert "keys=1" in asked[0][1]


@pytest.mark.parametrize(
    "index, fence",
    [(3, {"Verb": "check-index", "Key": "lock", "Index": 3}), (0, {"Verb": "check-not-exists", "Key": "lock"})],
)
def test_a_lock_is_taken_and_replaced_by_index_only(serve, index, fence):
    url, asked = serve({"PUT /v1/txn": (409, "")})
    with consul.Consul([url]) as client:
        assert not client.acquire("lock", "s", {}, index)
        assert not client.replace("lock", {}, index)
    assert [json.loads(body)[0]["KV"] for _, _, _, body in asked] == [fence, fence]


@pytest.mark.parametrize("status, body", [(404, "Unknown service ID"), (500, 'Unknown service "x"'), (200, "")])
def test_withdrawing_what_is_not_there_is_no_error(serve, status, body):
    url, asked = serve({"PUT /v1/agent/service/deregister/x": (status, body)})
    with consul.Consul([url]) as client:
        client.withdraw("x")
    assert len(asked) == 1


def test_withdrawing_that_fails(serve):
    url, _ = serve({"PUT /v1/agent/service/deregister/x": (500, "disk full")})
    with consul.Consul([url]) as client, pytest.raises(Failed, match="could not deregister x: 500 disk full"):
        client.withdraw("x")


def test_a_write_is_fenced_by_the_session(serve):
    url, asked = serve({"PUT /v1/txn": (409, "")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1, "b": None}, "lock", "s1") is False
    assert json.loads(asked[0][3]) == [
        {"KV": {"Verb": "check-session", "Key": "lock", "Session": "s1"}},
        {"KV": {"Verb": "set", "Key": "a", "Value": consul._encode(1)}},
        {"KV": {"Verb": "set", "Key": "b", "Value": consul._encode(None)}},
    ]


def test_renewing_a_session_that_is_gone(serve):
    url, _ = serve({"PUT /v1/session/renew/s1": (404, ""), "PUT /v1/session/renew/s2": (200, "[]")})
    with consul.Consul([url]) as client:
        assert client.renew_session("s1") is False
        assert client.renew_session("s2") is True


def test_no_leader(serve):
    url, _ = serve({"GET /v1/status/leader": (200, '""')})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable, match=f"has no leader .asked {url}"):
        client.leader()


def test_an_agent_that_still_knows_a_leader_but_reaches_none(serve):
    url, _ = serve({**LEADER, "GET /v1/kv/deploy/": (500, "No known Consul servers")})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable, match="no leader"):
        client.leader()


def test_waiting_ends_with_what_is_waited_for_or_at_the_deadline(serve):
    answers = {"GET /v1/health/service/shop": (200, json.dumps([entry("passing")]))}
    url, asked = serve(answers)
    with consul.Consul([url]) as client:
        assert client.wait("shop", lambda found: len(found) == 1, time.monotonic() + 5, passing=True) is True
        assert "consistent=1" in asked[0][1] and "passing=1" in asked[0][1] and "index" not in asked[0][1]
        began = time.monotonic()
        assert client.wait("shop", lambda found: not found, began + 0.2) is False
        assert 0.2 <= time.monotonic() - began < 20
        assert "index=7" in asked[-1][1] and "wait=" in asked[-1][1]


def test_waiting_outlasts_a_lost_leader(serve):
    answers = {"GET /v1/health/service/shop": (500, "No cluster leader")}
    url, asked = serve(answers)
    answers_later = threading.Timer(0.3, answers.update, [{"GET /v1/health/service/shop": (200, "[]")}])
    answers_later.start()
    with consul.Consul([url]) as client:
        assert client.wait("shop", lambda found: not found, time.monotonic() + 10) is True
    answers_later.join()
    assert len(asked) > 1


def test_waiting_for_a_leader_that_does_not_come_back(serve, monkeypatch):
    monkeypatch.setattr(consul, "ELECTION", 0.3)
    url, _ = serve({"GET /v1/health/service/shop": (500, "No cluster leader")})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable):
        client.wait("shop", lambda found: True, time.monotonic() + 0.3)


def test_what_users_do_not_find_of_an_agent_s_own_services(serve):
    """One is not checked yet, which the agent knows first; one is not in the catalog yet; another node's has its id."""
    mine = {"s1": "web1", "unchecked": "web1", "unlisted": "web1"}
    services = {i: entry(ID=i, Meta={"minion": minion})["Service"] for i, minion in mine.items()}
    checks = {
        "c1": {"ServiceID": "unchecked", "Status": "critical"},
        "serfHealth": {"ServiceID": "", "Status": "critical"},
    }
    found = [("s1", "web1"), ("unchecked", "web1"), ("unlisted", "web2")]
    listed = [entry("passing", ID=i, Meta={"minion": minion}) for i, minion in found]
    answers = {
        "GET /v1/agent/services": (200, json.dumps(services)),
        "GET /v1/agent/checks": (200, json.dumps(checks)),
        "GET /v1/health/service/shop": (200, json.dumps(listed)),
    }
    url, _ = serve(answers)
    with consul.Consul([url]) as client:
        assert client.failing() == ["unchecked", "unlisted"]


def test_entries_come_in_the_order_in_which_they_were_created(serve):
    """Whatever time their ids say, and whenever they were changed."""
    found = [("a/9999", 7), ("a/2026", 9), ("a/2025", 9)]
    keys = [{"Key": key, "Value": consul._encode(key), "CreateIndex": i, "ModifyIndex": 99 - i} for key, i in found]
    url, _ = serve({"GET /v1/kv/a/": (200, json.dumps(keys))})
    with consul.Consul([url]) as client:
        assert client.entries("a/") == [(key, key) for key in ("a/9999", "a/2025", "a/2026")]
        assert client.read_all("a/").keys() == {"a/9999", "a/2025", "a/2026"}
        assert client.entries("x/") == []


@pytest.mark.parametrize("datacenter, found", [(None, {"web3"}), ("dc1", {"web3"}), ("dc2", set())])
def test_an_agent_that_lost_its_data_is_told_by_its_identity(serve, datacenter, found):
    """It is another one, and the catalog has what the earlier one registered. What is dead or unknown is not."""
    known = {"web1": "a", "web2": "b", "web3": "c", "external": ""}
    members = [("web1", "a", 1), ("web2", "x", 4), ("web3", "y", 1)]
    said = [{"Name": n, "Status": status, "Tags": {"id": i, "dc": "dc1"}} for n, i, status in members]
    nodes = json.dumps([{"Node": n, "ID": i} for n, i in known.items()])
    url, _ = serve({"GET /v1/agent/members": (200, json.dumps(said)), "GET /v1/catalog/nodes": (200, nodes)})
    with consul.Consul([url], datacenter=datacenter) as client:
        assert client.replaced() == found


def test_what_an_agent_only_believes_to_pass(serve):
    """A check without output has not run yet. What does not pass, and what is another's, is not believed in."""
    checks = {
        "c1": {"ServiceID": "s1", "Status": "passing", "Output": "HTTP GET …: 200 OK"},
        "c2": {"ServiceID": "s1", "Status": "passing", "Output": ""},
        "c3": {"ServiceID": "s2", "Status": "critical", "Output": ""},
        "c4": {"ServiceID": "s3", "Status": "passing", "Output": ""},
        # A report of the app needs no text.
        "s5:ttl": {"ServiceID": "s5", "Status": "passing", "Output": ""},
        "serfHealth": {"ServiceID": "", "Status": "passing", "Output": ""},
    }
    checks = {i: {"CheckID": i, "Name": f"check {i}", **about} for i, about in checks.items()}
    url, _ = serve({"GET /v1/agent/checks": (200, json.dumps(checks))})
    with consul.Consul([url]) as client:
        assert client.unmeasured(["s1", "s2", "s5"]) == ["s1"]
        assert client.results("s1") == {"check c1": ("passing", "HTTP GET …: 200 OK"), "check c2": ("passing", "")}


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    for name in ("consul", "consulhttp"):
        monkeypatch.delitem(sys.modules, f"saltdeploy.discovery.{name}")
    monkeypatch.setitem(sys.modules, "consul.std", None)
    monkeypatch.setitem(sys.modules, "consul", None)
    with pytest.raises(Refused, match="^python-consul is not installed here.* `salt-pip install python-consul`"):
        discovery.connect({})
