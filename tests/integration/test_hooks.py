"""Hooks: what runs once does so once, what fails stops what comes after it, and what is frozen stays as it is."""

from __future__ import annotations

import json

import pytest
import requests

from tests.support.target import NAME

pytestmark = pytest.mark.usefixtures("users")

# A version that a URL must quote, in the marks' keys.
MIGRATING = "2.0+db~1"


@pytest.fixture(autouse=True)
def kv(agents):
    """The URL of all marks of hooks, which are gone afterwards."""
    url = f"{agents.url('web1')}/v1/kv/deploy/site/{NAME}/hooks/"
    yield url
    assert requests.delete(url, params={"recurse": ""}, timeout=20).ok


def writes(path, text):
    """Return a command that adds a line to a file, for no shell runs it."""
    return f"""sh -c 'echo "{text}" >> {path}'"""


def test_a_migration_runs_once_for_a_release_and_other_hooks_on_every_node(target, folder, releases):
    before, _ = releases
    ran = folder / "ran"
    target.archives.make(MIGRATING)
    hooks = {
        "before_start": [
            {"command": writes(ran, "migrate $VERSION $LEVEL"), "once": True},
            writes(ran, "prepare {node} in $PWD"),
        ],
        "before_publish": writes(ran, "warm $INSTANCES at $PORTS"),
        "after_retire": {"command": writes(ran, "contract"), "once": True},
    }
    target.define({"hooks": hooks, "env": {"LEVEL": "info"}})
    assert "`, once, on one node" in target.run("plan", f"version='{MIGRATING}'")
    target.deploy(MIGRATING)
    lines = ran.read_text().splitlines()
    assert lines[0] == f"migrate {MIGRATING} info" and lines[-1] == "contract"
    prepared = sorted(line for line in lines if line.startswith("prepare"))
    assert [line.split()[1] for line in prepared] == ["web1", "web2", "web3"]
    assert all(f"/{NAME}/releases/.{MIGRATING}@" in line for line in prepared), prepared
    ports = {(i, str(port)) for (_, i), (_, port, _) in target.traces().published.items()}
    assert {tuple(line.split()[1::2]) for line in lines if line.startswith("warm")} == ports
    assert len(lines) == 8, lines

    # Back without them, and once more to the release whose migration has run.
    target.define()
    target.run("rollback", f"version='{before}'")
    target.define({"hooks": hooks, "env": {"LEVEL": "info"}})
    output = target.deploy(MIGRATING)
    assert "is not run again: it ran on web" in output
    again = ran.read_text().splitlines()[8:]
    assert len(again) == 6 and not [line for line in again if line in (lines[0], "contract")], again
    assert "before_start `sh -c" in target.run("hooks", f"version='{MIGRATING}'")


def test_where_no_run_saw_the_end_somebody_must_look(target, kv, releases):
    """Nothing is deployed."""
    _, new = releases
    migrate = {"command": "./bin/migrate", "once": True}
    target.define({"hooks": {"before_start": migrate}})
    mark = {"state": "started", "phase": "before_start", "command": "./bin/migrate", "node": "web1"}
    mark |= {"deployment": "d", "owner": "ann", "time": 0}
    assert requests.put(f"{kv}{new}/before_start-0", data=json.dumps(mark), timeout=20).ok
    for function, *args in (("app", f"version='{new}'"), ("check", f"version='{new}'")):
        assert "it was started, and its end is not known" in target.run(function, *args, code=3)
    assert "settle='maybe': done or again is allowed" in target.run("hooks", "settle=maybe", code=3)
    settled = target.run("hooks", f"version='{new}'", "settle=done")
    assert "before_start `./bin/migrate`: it ran on web1" in settled
    target.run("check", f"version='{new}'")
    assert "no hook of shop in site whose end is not known" in target.run("hooks", "settle=again", code=3)
    assert requests.put(f"{kv}{new}/before_start-0", data=json.dumps(mark), timeout=20).ok
    assert "no hook that runs once has run for shop in site" in target.run("hooks", "settle=again")


def test_a_failing_hook_reverts_or_freezes(target, folder, releases):
    before, new = releases
    old = target.traces()
    failing = "sh -c 'echo cache is cold; exit 7'"
    shows = """sh -c 'echo "cache is cold, asked $CACHE"; exit 7'"""
    target.define({"hooks": {"before_publish": shows}, "env": {"CACHE": "redis://shop:hunter2@cache:6379"}})
    output = target.deploy(new, code=1)
    assert "ended with 7" in output and "cache is cold, asked ***" in output and "all is as before" in output
    assert "hunter2" not in output + target.run("history", "limit=1")
    assert target.traces() == old

    target.define({"hooks": {"before_publish": {"command": failing, "once": True, "on_failure": "freeze"}}})
    output = target.deploy(new, "reason=a try", code=2)
    assert f"{NAME} {new} is FROZEN half way" in output and "Nothing was reverted" in output
    frozen = target.traces()
    assert frozen.published == old.published and len(frozen.candidates) == 1 and not frozen.locked
    assert frozen.record["nodes"] == old.record["nodes"] and frozen.record["version"] == before
    said = target.run("status")
    assert "is FROZEN half way" in said and "ended with 7" in said and f"deploy.app {NAME} version=\"'{new}'\"" in said
    assert "FROZEN" in target.run("history", "limit=1")

    # It has failed, and may run again.
    target.define()
    target.deploy(new)
    assert target.traces().versions == [new] * 3 and "FROZEN" not in target.run("status")


def test_a_run_that_is_killed_while_a_migration_runs_asks_what_has_become_of_it(target, folder, releases):
    _, new = releases
    ran = folder / "migrated"
    target.define({"hooks": {"before_start": {"command": writes(ran, "migrate"), "once": True}}})
    before = target.traces()
    steps, killed = target.killed(new, "deploy.hook")
    assert killed and steps[-2:] == ["write hooks", "deploy.hook"]
    assert "it was started, and its end is not known" in target.run("app", f"version='{new}'", code=3)
    after = target.traces()
    assert (after.published, after.record) == (before.published, before.record) and not ran.exists()
    target.run("hooks", f"version='{new}'", "settle=again")
    target.deploy(new)
    assert ran.read_text().splitlines() == ["migrate"]
