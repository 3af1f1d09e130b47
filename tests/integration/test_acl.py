"""The policies of docs/howto/acl.rst are enough for what a deployment asks of Consul, and allow nothing else."""

from __future__ import annotations

import json
import time

import pytest
import requests
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Probe
from saltdeploy.discovery import Service, connect
from saltdeploy.master.lock import Lock

from tests.support.site import REPOSITORY, until
from tooling.config import consul_config
from tooling.daemons import Daemon, Daemons
from tooling.getconsul import version_of

ADDRESS = "127.0.3.11"
MANAGEMENT = "00000000-0000-0000-0000-000000000001"
POLICIES = {who: REPOSITORY / f"docs/howto/acl-policy-{who}.hcl" for who in ("master", "nodes")}


@pytest.fixture(scope="module")
def put(folder, consul_binary):
    """A Consul server that denies by default; call its HTTP API as management."""
    where = folder / "acl"
    where.mkdir()
    new = tuple(map(int, version_of(consul_binary).split("."))) >= (1, 11)
    tokens = {"initial_management" if new else "master": MANAGEMENT, "agent": MANAGEMENT}
    config = consul_config("acl1", ADDRESS, [ADDRESS], where / "data")
    config["acl"] = {"enabled": True, "default_policy": "deny", "tokens": tokens}
    (where / "consul.json").write_text(json.dumps(config))
    daemons = Daemons(where)
    command = (str(consul_binary), "agent", f"-config-file={where}/consul.json")
    daemons.start(Daemon("consul-acl1", command, where / "log", "test"))

    def call(path, body, verb="put"):
        headers = {"X-Consul-Token": MANAGEMENT}
        answer = requests.request(verb, f"http://{ADDRESS}:8500/v1/{path}", json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json()

    try:
        until(lambda: call("acl/tokens", None, "get"), 60, "Consul to have its ACLs")
        yield call
    finally:
        daemons.stop()


def settings(token):
    return {"consul": {"agent": "http://{address}:8500", "servers": [f"http://{ADDRESS}:8500"], "token": token}}


@pytest.fixture(scope="module")
def tokens(put):
    """The token of the master and that of the nodes."""
    for who, path in POLICIES.items():
        put("acl/policy", {"Name": who, "Rules": path.read_text()})
    return {who: put("acl/token", {"Policies": [{"Name": who}]})["SecretID"] for who in POLICIES}


def test_the_documented_policies_are_enough(tokens):
    checks = (Probe("tcp", ""),)
    published = Service("shop_1_80", "shop", ADDRESS, 8500, meta={"app": "shop"}, checks=checks)
    candidate = Service("shop_2_81_candidate", "shop-candidate", ADDRESS, 8500, expires=60.0)
    key = "deploy/production/shop/current"
    with connect(settings(tokens["master"])) as master, connect(settings(tokens["nodes"]), ADDRESS) as node:
        assert master.leader()
        for service in (published, candidate):
            node.publish(service)
        assert set(node.registered()) == {published.id, candidate.id}
        assert master.wait(
            "shop", lambda found: [e.id for e in found] == [published.id], time.monotonic() + 20, passing=True
        )
        with Lock(master, "deploy/production/shop/lock", {"app": "shop"}) as lock:
            lock.write({key: {"version": "1"}})
            lock.check()
        assert node.read(key)[0] == {"version": "1"}
        assert key in master.read_all("deploy/production/shop/")
        for service in (published.id, candidate.id, "unknown"):
            node.withdraw(service)
        assert master.wait("shop", lambda found: not found, time.monotonic() + 20)


@pytest.mark.parametrize("value", [None, "00000000-0000-0000-0000-00000000dead"])
def test_without_the_token_it_is_refused_with_advice(put, value):
    with connect(settings(value)) as master, pytest.raises(Failed, match="see discovery:consul:token"):
        master.leader()


def test_they_allow_nothing_else(tokens):
    with connect(settings(tokens["master"])) as master, connect(settings(tokens["nodes"]), ADDRESS) as node:
        with pytest.raises(Failed, match="Consul refuses to"):
            node.publish(Service("other", "other", ADDRESS, 80))
        with pytest.raises(Failed, match="Its token may not"):
            master.write({"deploy/test/shop/current": {}})


def test_a_node_changes_neither_the_record_nor_sessions_and_the_master_publishes_nothing(tokens):
    with connect(settings(tokens["master"])) as master, connect(settings(tokens["nodes"]), ADDRESS) as node:
        with pytest.raises(Failed, match="Its token may not"):
            node.write({"deploy/production/shop/current": {"version": "evil"}})
        session = master.create_session("a deployment", 10)
        for ask in (lambda: node.create_session("a node's", 10), lambda: node.destroy_session(session)):
            with pytest.raises(Failed, match="Its token may not"):
                ask()
        assert master.renew_session(session)
        master.destroy_session(session)
        with connect(settings(tokens["master"]), ADDRESS) as own, pytest.raises(Failed, match="Consul refuses to"):
            own.publish(Service("shop_3_80", "shop", ADDRESS, 80))
