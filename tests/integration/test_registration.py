"""A registration whose definition has changed, or that somebody changed by hand: registered again, without a restart."""

from __future__ import annotations

import psutil
import pytest
import requests

from tests.support.dns import watched
from tests.support.site import last_document, until
from tests.support.target import NAME

pytestmark = [pytest.mark.usefixtures("users"), pytest.mark.one_wave]
DNS, FRONT = NAME, "front"


def registrations(target):
    """Return ``{(node, id): registration}`` of all published instances, as their agents have them."""
    return {
        (node, i): requests.get(f"{target.agents.url(node)}/v1/agent/service/{i}", timeout=10).json()
        for node, i in target.traces().published
    }


def processes(target):
    """Return ``{address: (pid, start)}`` of all instances: an instance that was restarted has another process."""
    listening = {(address, port) for address, port, _ in target.traces().published.values()}
    found = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and tuple(c.laddr) in listening]
    assert len(found) == len(listening)
    return {tuple(c.laddr): (c.pid, psutil.Process(c.pid).create_time()) for c in found}


def test_other_tags_and_metadata_are_registered_without_a_restart_and_without_a_gap(target, users, releases):
    version, addresses = releases[0], set(target.agents.nodes.values())
    before, instances = target.traces(), processes(target)
    target.define({"service": {"tags": ["web", "v-{version}"], "meta": {"team": "red", "at": "{node}"}}})
    assert "tags, meta not as defined" in target.run("status")
    plan = target.run("plan", f"version='{version}'")
    assert "register again, without a restart: " in plan and "(tags, meta)" in plan and "wave 1" not in plan
    with watched(target.agents, DNS) as found:
        output = target.deploy(version)
    assert found == [addresses], "clients did not find an instance for a moment"
    assert f"{NAME} {version} is published in site: 3 instances of {version}" in output
    for (node, _), one in registrations(target).items():
        assert one["Tags"] == ["site", version, "web", f"v-{version}"]
        assert (one["Meta"]["team"], one["Meta"]["at"]) == ("red", node)
    after = target.traces()
    assert (after.published, after.record["nodes"]) == (before.published, before.record["nodes"])
    assert processes(target) == instances, "an instance was restarted"
    assert "not as defined" not in target.run("status")
    assert "was already published, nothing was done" in target.deploy(version)

    # Fewer of them, again without a gap.
    target.define()
    with watched(target.agents, DNS) as found:
        target.deploy(version)
    assert found == [addresses] and {len(one["Tags"]) for one in registrations(target).values()} == {2}
    assert processes(target) == instances


def test_it_is_found_under_a_second_name_too(target, users, releases):
    old, new = releases
    instances, addresses = processes(target), set(target.agents.nodes.values())
    target.define({"service": {"name": "front", "tags": ["web"]}})
    assert "name not as defined" in target.run("status")
    with watched(target.agents, DNS) as found, watched(target.agents, FRONT) as also:
        target.deploy(old)
        until(lambda: also[-1] == addresses, 5, "the second name in DNS")
    assert found == [addresses] and processes(target) == instances
    assert "not as defined" not in target.run("status")
    assert {tuple(one["Tags"]) for one in registrations(target).values()} == {("site", old)}
    assert {tags for _, tags in named(target)} == {("site", old, "web")}

    # In a rollout, the second name has an instance at any time. Both names have the same instances in the end.
    with watched(target.agents, DNS) as found, watched(target.agents, FRONT) as also:
        target.deploy(new)
    assert set() not in found and set() not in also
    assert {i for i, _ in named(target)} == {f"{i}_named" for _, i in target.traces().published}

    # Without the name, the tags are with the only name that is left.
    target.define({"service": {"tags": ["web"]}})
    # Only the nodes still know of the second name.
    assert target.run("status").count("name not as defined") == 3
    with watched(target.agents, DNS) as found:
        target.deploy(new)
    assert found == [addresses] and named(target) == []
    assert {tuple(one["Tags"]) for one in registrations(target).values()} == {("site", new, "web")}
    target.define()
    target.deploy(new)


def named(target):
    """Return id and tags of all services under the second name, as the catalog has them."""
    url = target.agents.url("web1")
    entries = requests.get(f"{url}/v1/health/service/front?consistent&passing", timeout=10).json()
    return [(e["Service"]["ID"], tuple(e["Service"]["Tags"])) for e in entries]


def test_other_checks_are_registered_and_run(target, users, releases):
    version = releases[0]
    instances = processes(target)
    target.define({"checks": [{"http": "/health", "interval": "1s"}, {"tcp": True}]})
    actions = last_document(target.run("plan", f"version='{version}'", "--out=json"))["actions"]
    assert [set(ids.values()) for wave in actions["register"] for ids in wave.values()] == [{"checks"}] * 3
    target.deploy(version)
    assert {len(checks) for checks in health(target).values()} == {2}
    # A check that a definition does not have any more goes, too.
    target.define()
    target.deploy(version)
    assert {len(checks) for checks in health(target).values()} == {1} and processes(target) == instances


def health(target):
    """Return ``{(node, id): checks}`` of all published instances, as their agents have them."""
    found = {}
    for node, i in target.traces().published:
        checks = requests.get(f"{target.agents.url(node)}/v1/agent/checks", timeout=10).json().values()
        found[node, i] = [check["Name"] for check in checks if check["ServiceID"] == i]
    return found


def test_a_check_that_would_not_pass_is_not_registered(target, users, releases):
    """Clients would lose all instances at once."""
    version, before, there = releases[0], target.traces(), registrations(target)
    target.define({"checks": [{"http": "/nowhere"}]})
    output = target.deploy(version, code=1)
    assert "a check of the new registration does not pass, so nothing is registered" in output
    assert "/nowhere: status 404, expected 2xx" in output and "all is as before" in output
    assert (target.traces(), registrations(target)) == (before, there)


def test_what_somebody_changed_by_hand_is_named_and_put_right(target, users, releases):
    version, there = releases[0], registrations(target)
    (node, i), one = next(iter(there.items()))
    keys = {"ID": i, "Name": NAME, "Address": one["Address"], "Port": one["Port"], "Meta": one["Meta"]}
    body = {**keys, "Tags": ["by hand"], "Weights": one["Weights"]}
    requests.put(f"{target.agents.url(node)}/v1/agent/service/register", json=body, timeout=10).raise_for_status()
    checks = requests.get(f"{target.agents.url(node)}/v1/agent/checks", timeout=10).json()
    [check] = [check for check, about in checks.items() if about["ServiceID"] == i]
    requests.put(f"{target.agents.url(node)}/v1/agent/check/deregister/{check}", timeout=10).raise_for_status()
    assert "tags, checks not as defined" in target.run("status")
    target.deploy(version)
    assert registrations(target) == there and {len(checks) for checks in health(target).values()} == {1}
