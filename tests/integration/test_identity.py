"""Whose an instance is, where it belongs, and whether it serves: seen from discovery, not from what a file says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import requests
from saltdeploy.core.model import Probe
from saltdeploy.discovery import Service
from saltdeploy.discovery.consul import Consul

from tests.support.site import until
from tests.support.target import NAME, Target


@pytest.fixture(autouse=True)
def served(users):
    """Users during each test, of whose requests none fails."""
    return users


def file(target, node, one):
    return Path(target.agents.settings(node)["root"]) / NAME / "instances" / one / "instance.json"


def instance(target, node):
    """Return the id of what is published on ``node``."""
    [one] = [i for n, i in target.traces().published if n == node]
    return one


def says(output, *words):
    assert [word for word in words if word not in output] == [], output


def test_a_folder_that_was_copied_from_another_node(target, releases):
    """As a cloned machine has it: the copy goes, where it is, and what it is a copy of serves on."""
    old, new = releases
    target.deploy(old, "instances=2")
    kept = target.traces().published
    [empty] = set(target.agents.nodes) - {node for node, _ in kept}
    node, one = min(kept)
    shutil.copytree(file(target, node, one).parent, file(target, empty, one).parent)
    output = target.deploy(old, "instances=2")
    says(output, f"stop instances that serve nobody: {one} on {empty}", f"2 instances of {old} on")
    assert target.traces().published == kept and target.traces().clean
    target.deploy(new)


def test_a_minion_with_another_name_than_its_files_and_its_registration_have(target, releases):
    """What it runs serves until it is replaced, and has the time to finish then."""
    _, new = releases
    one = instance(target, "web2")
    record = file(target, "web2", one)
    record.write_text(json.dumps({**json.loads(record.read_text()), "node": "db7"}))
    renamed(target, "web2", one)
    output = target.deploy(new)
    says(output, f"{one} on web2", f"retire   web2: {one}", f"3 instances of {new} on web1, web2, web3")
    assert "stop instances that serve nobody" not in output and target.traces().clean


def renamed(target, node, one):
    """Register ``one`` again, as the minion that ``node`` was when it was called db7."""
    address, port, version = target.traces().published[node, one]
    meta = {"app": NAME, "version": version, "environment": "site", "deployment": "d", "minion": "db7"}
    check = Probe("http", "/health", interval=1.0)
    with Consul([target.agents.url(node)]) as agent:
        agent.publish(Service(one, NAME, address, port, ("site", version), meta, (check,), weight=25600))
    until(lambda: ("db7", one) in target.traces().published, 10, "the registration")


@pytest.mark.parametrize("lost", ["file", "folder"])
def test_what_only_discovery_knows_serves_until_it_is_replaced(target, releases, lost):
    _, new = releases
    one = instance(target, "web3")
    record = file(target, "web3", one)
    if lost == "folder":
        shutil.rmtree(record.parent)
    else:
        record.write_text("")
    output = target.deploy(new)
    says(output, f"{one} on web3", f"retire   web3: {one}", f"3 instances of {new} on web1, web2, web3")
    assert "stop instances that serve nobody" not in output and target.traces().clean


def test_an_instance_that_is_not_healthy_is_replaced_by_the_same_release(target, releases):
    old, _ = releases
    one, agent = instance(target, "web2"), target.agents.url("web2")
    target.define({"checks": [{"http": "/health", "interval": "500ms"}]}, {"healthy_deadline": "4s"})
    url = f"{agent}/v1/agent/service/maintenance/{one}?enable=true&reason=looked+at"
    requests.put(url, timeout=10).raise_for_status()
    until(lambda: len(target.traces().published) == 2, 10, "it to be out")
    output = target.deploy(old)
    says(output, f"not healthy in discovery: {one} on web2. Waiting 4s", f"so it is replaced: {one} on web2")
    says(output, f"retire   web2: {one}", f"3 instances of {old} on web1, web2, web3")
    assert target.traces().versions == [old] * 3 and target.traces().clean


def test_an_app_with_data_stays_where_its_data_is(target, releases):
    """One instance on three nodes: over an upgrade it keeps its node, and users find its data all the time."""
    old, new = releases
    store = Target(target.agents, target.pillar, target.archives, target.cli, "store", (24000, 24019))
    start = "sh -c 'test -s $DATA/state || echo data of {node} > {data}/state; exec ./bin/serve {address} {port}'"
    store.define({"data": True, "run": start}, apps={"store": {"version": old, "instances": 1}})
    says(store.deploy(old, "nodes=web3"), "store starts with an empty data folder on web3")
    data = Path(target.agents.settings("web3")["root"]) / "store" / "data"
    with target.agents.clients("store", "/data") as clients:
        output = store.deploy(new)
        assert clients.wait_for(new, 10)
    assert clients.failures == [] and "moves" not in output and "empty data folder" not in output
    assert [node for node, _ in store.traces().published] == ["web3"] and store.traces().versions == [new]
    refused = store.deploy(old, "nodes=web1", code=3)
    says(refused, "store would start without its data on web1: its data is on web3", "say move=True")
    says(store.run("plan", "nodes=web1", "move=True"), "store starts with an empty data folder on web1")
    says(store.run("remove", "confirm=True"), f"its data stays: web3 ({data})")
    assert (data / "state").read_text() == "data of web3\n" and data.stat().st_mode & 0o777 == 0o750
