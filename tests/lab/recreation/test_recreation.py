"""An environment from blank machines by one command, at two sizes; and taken away again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter

import pytest

from lab import hosts
from tests.lab.recreation.conftest import ROLES
from tests.support.site import last_document, until

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())


def counts(status):
    return {app["app"]: (app["version"], app["healthy"], app["desired"]) for app in status["apps"]}


@pytest.fixture(scope="module")
def bus(recreated, tmp_path_factory):
    """A file with all events of the master, as they come."""
    path = tmp_path_factory.mktemp("bus") / "events"
    with path.open("w") as events:
        listener = recreated.cli.start("salt-run", "state.event", "count=-1", stdout=events)
        yield path
        recreated.site.master.attempt("pkill", "-TERM", "-f", "state.event")
        listener.wait(30)


def test_production_is_up_by_one_command_although_it_was_killed_once(recreated, bus):
    plan = recreated.run("up", "production", "test=True")
    assert plan["plans"] == [] and all(count > 5 for count in plan["states"].values()), plan["states"]
    assert "the apps cannot be planned before the states are applied" in plan["warnings"][-1]
    first = recreated.cli.start("salt-run", "environment.up", "production")
    master = recreated.site.master
    host = recreated.site.lab.host("prod2")
    until(lambda: host.attempt("test", "-e", "/usr/local/bin/consul")[0] == 0, 120, "Consul on prod2")
    master.run("pkill", "-KILL", "-f", "environment.up")
    first.communicate(timeout=60)
    result = recreated.run("up", "production", "reason=first")
    assert [(run["app"], run["outcome"]) for run in result["runs"]] == [("shop", "done"), ("front", "done")]
    status = recreated.run("status", "production")
    assert counts(status) == {"shop": ("1.0", 3, 3), "front": ("1.0", 3, 3)}
    again = recreated.run("up", "production")
    assert set(again["states"].values()) == {0} and not any(run["changed"] for run in again["runs"])


def test_test_is_the_same_at_a_third_of_the_size(recreated):
    began = time.monotonic()
    recreated.run("up", "test")
    print(f"test up in {time.monotonic() - began:.0f} s")
    assert counts(recreated.run("status", "test")) == {"shop": ("1.0", 1, 1), "front": ("1.0", 1, 1)}
    assert recreated.run("diff", "production", "test")["differences"] == []


def test_a_deliberate_difference_is_found(recreated):
    recreated.define({"apps": {"shop": {"version": "1.1", "env": {"ONLY_HERE": "1"}}}})
    recreated.site.lab.host("test1").run(
        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "remove", "--yes", "postgresql"
    )
    found = {d["key"] for d in recreated.run("diff", "production", "test", code=1)["differences"]}
    assert found == {"apps:shop:version", "apps:shop:env:ONLY_HERE", "machines:packages:postgresql"}
    recreated.define()
    recreated.run("up", "test")
    assert recreated.run("diff", "production", "test")["differences"] == []


def test_no_secret_of_one_environment_is_on_a_node_of_the_other(recreated, bus, tmp_path):
    """Nor on the event bus, nor in the jobs that the master keeps, nor in the other's Consul."""
    events = bus.read_text()
    for tag in ("salt/run/", "salt/job/", "saltdeploy/production/shop/end", "saltdeploy/test/shop/end"):
        assert tag in events
    master = recreated.site.master.root
    secrets = {env: own_secrets(master / f"etc/salt/pki/master/saltdeploy/{env}.json") for env in ROLES}
    assert all(len(found) > 6 for found in secrets.values()) and not secrets["production"] & secrets["test"]
    for env, other in (("production", "test"), ("test", "production")):
        patterns = tmp_path / env
        patterns.write_text("\n".join(secrets[env]))
        roots = {node: recreated.site.lab.host(node).root for node in ROLES[other]}
        own = recreated.site.lab.host(next(iter(ROLES[env]))).root
        assert holding(patterns, own / "etc/consul.d"), "the search finds what is there"
        for node, root in roots.items():
            assert holding(patterns, *(root / part for part in ("etc", "root", "run", "srv", "tmp", "var"))) == [], node
        assert holding(patterns, master / "var/cache/salt/master/jobs", bus.parent) == []
        with recreated.consul(other) as consul:
            kept = str(consul.entries("deploy/"))
        assert "deployment" in kept and not [secret for secret in secrets[env] if secret in kept]


def own_secrets(path):
    """Return the secrets in a file of the master, each on a line of its own."""

    def texts(value):
        if isinstance(value, dict):
            for name, each in value.items():
                yield from texts(each) if name != "certificate" else ()
        elif isinstance(value, str):
            yield value.splitlines()[1] if "\n" in value else value

    return {text for text in texts(json.loads(path.read_text())) if len(text) > 20}


def holding(patterns, *folders):
    """Return the files in ``folders`` that hold any of the lines of the file ``patterns``."""
    there = [folder for folder in folders if folder.is_dir()]
    command = ["grep", "--recursive", "--fixed-strings", "--files-with-matches", "-f", patterns, *there]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


@pytest.mark.thorough
def test_a_dead_node_is_evacuated_and_comes_back(recreated):
    host = recreated.site.lab.host("prod3")
    host.kill()
    until(lambda: nodes(recreated, "front") == {"prod1": 1, "prod2": 1}, 90, "Consul to miss prod3")
    recreated.deploy("evacuate", "prod3", "env=production", "reason=dead")
    assert sum(nodes(recreated, "shop").values()) == 3 and set(nodes(recreated, "shop")) == {"prod1", "prod2"}
    status = recreated.run("status", "production", code=1)
    [problems] = [row["problems"] for row in status["nodes"] if row["node"] == "prod3"]
    assert "prod3 is out of use (root@salt1, reason: dead)" in problems[0] and len(problems) == 2
    host.boot()
    recreated.site.await_minions(["prod3"])
    recreated.site.salt("state.apply", names=["prod3"])
    recreated.deploy("return", "prod3", "env=production")
    assert nodes(recreated, "shop") == nodes(recreated, "front") == {"prod1": 1, "prod2": 1, "prod3": 1}
    assert recreated.run("status", "production")["as_defined"]


def nodes(recreated, app):
    """Return how many instances of ``app`` clients find in production: node -> number."""
    with recreated.consul("production") as consul:
        return dict(Counter(e.minion for e in consul.instances(app, passing=True)))


def test_it_is_taken_away_with_all_that_highstate_set_up(recreated):
    assert "say confirm=True to remove the app" in recreated.run("down", "test", code=3)["verdict"]
    result = recreated.run("down", "test", "platform=True", "data=True", "confirm=True")
    assert sorted(run["app"] for run in result["runs"]) == ["front", "shop"]
    host = recreated.site.lab.host("test1")
    assert host.attempt("test", "-e", "/etc/systemd/system/consul.service")[0] != 0
    # The rest of it goes on, and a run that has nothing to do does no harm.
    assert counts(recreated.run("status", "production")) == {"shop": ("1.0", 3, 3), "front": ("1.0", 3, 3)}
    recreated.run("down", "test", "platform=True", "data=True", "confirm=True")
    orchestrate = ("salt-run", "state.orchestrate", "saltdeploy.orch.environment", "pillar={environment: test}")
    code, output = recreated.cli.run(*orchestrate, timeout=600)
    assert code == 0, output
    assert counts(recreated.run("status", "test")) == {"shop": ("1.0", 1, 1), "front": ("1.0", 1, 1)}


@pytest.mark.thorough
def test_a_release_goes_from_test_to_production(recreated):
    """The last of all: it leaves other releases than those of the definition."""

    def deploy(*args, code=0):
        found, output = recreated.cli.run("salt-run", "deploy.app", "--out=json", "shop", *args, timeout=600)
        assert found == code, output
        return last_document(output)

    deploy("env=test", "version='1.1'")
    promoted = deploy("env=production", "from_env=test", "reason=accepted")
    assert promoted["version"] == "1.1" and promoted["from_env"] == "test"
    assert counts(recreated.run("status", "production", code=1))["shop"] == ("1.1", 3, 3)
    deploy("env=test", "version='1.0'")
    recreated.define({"apps": {"shop": {"env": {"ONLY_HERE": "1"}}}})
    assert "instances on test1 are not as defined" in deploy("env=production", "from_env=test", code=3)["verdict"]
    deploy("env=test", "version='1.0'")
    refused = deploy("env=production", "from_env=test", code=3)["verdict"]
    assert "production and test are unlike in apps:shop:env:ONLY_HERE" in refused
    assert deploy("env=production", "from_env=test", "version='1.0'", code=3)
    allowed = deploy("env=production", "from_env=test", "allow_drift=True")
    assert (allowed["version"], allowed["allowed_drift"]) == ("1.0", ["apps:shop:env:ONLY_HERE"])
