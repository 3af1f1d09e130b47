"""How instances end: in their own time, completely, and after a supervisord was killed, too."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import requests
from saltdeploy.system import processes

from tests.support import apps
from tests.support.site import until
from tests.support.target import Target

NAME = "job"
# A child in a session of its own, and work in progress that takes a while after SIGTERM.
RUN = (
    'sh -c \'trap "sleep {seconds}; echo done > {done}; exit" TERM;'
    " setsid sleep 300 & ./bin/serve {{address}} {{port}} & wait'"
)


class Job:
    """An app with one instance, that has work in progress for some seconds when it is stopped."""

    def __init__(self, target, folder):
        self.target, self.done = target, folder / "done"

    def deploy(self, version, seconds, timeout):
        """Deploy a release whose instances are told to end in ``timeout``; return the output."""
        app = {"run": RUN.format(seconds=seconds, done=self.done), "stop": {"timeout": timeout}}
        self.target.define(app={**app, "tests": []}, apps={NAME: {"version": "1.0", "instances": 1}})
        self.done.unlink(missing_ok=True)
        return self.target.deploy(version)

    @property
    def place(self):
        """Node and id of its instance."""
        [(node, instance)] = self.target.traces().published
        return node, instance

    def marked(self):
        """Return ``{id: [Process, …]}`` of all processes of its instances, wherever they are."""
        found = processes.marked(self.target.agents.folder)
        return {folder.name: some for folder, some in found.items() if folder.name.startswith(f"{NAME}_")}


@pytest.fixture(scope="module")
def job(minions, agents, pillar, cli, folder):
    archives = apps.Archives(folder / NAME)
    for version in ("1.0", "1.1"):
        archives.make(version)
    target = Target(agents, pillar, archives, cli, name=NAME, ports=(24000, 24009))
    yield Job(target, folder)
    target.call("*", "app.stop", NAME, "drain=0")


def test_instances_read_their_files_again_while_users_use_them(target, users):
    target.define({"reload": {"signal": "HUP"}})
    before = target.traces()
    output = target.run("reload")
    assert f"wave 1: reload {min(before.published)[1]} on web1" in output
    assert f"was reloaded in site: 3 instances of {before.versions[0]} on web1, web2, web3" in output
    where = [f"http://{address}:{port}" for address, port, _ in before.published.values()]
    assert [requests.get(f"{url}/reloads", timeout=5).text for url in where] == ["1"] * 3
    assert target.traces().published == before.published and " reload " in target.run("history", "limit=1")
    # A command that fails stops it at once.
    target.define({"reload": {"command": "sh -c 'test {node} != web1'"}})
    output = target.run("reload", code=2)
    assert "`sh -c 'test {node} != web1'` ended with 1" in output and " on web2" in output.partition(" not reloaded")[0]
    assert [requests.get(f"{url}/reloads", timeout=5).text for url in where] == ["1"] * 3


def test_an_instance_that_does_not_know_the_signal_stops_the_reload(target):
    target.define({"reload": {"signal": "USR1"}})
    before = target.traces()
    output = target.run("reload", code=2)
    assert "its process ended by the reload" in output and output.count("not reloaded") == 1
    # Its supervisor has started it again.
    until(lambda: target.traces().published == before.published, 20, "the instance to be back")
    target.define()


def test_work_in_progress_is_finished_or_its_end_is_told(job):
    job.deploy("1.0", 11, "20s")
    old = job.place[1]
    # More than the ten seconds of the default, and how it was started counts, not how the next one is.
    output = job.deploy("1.1", 11, "1s")
    assert job.done.exists() and "was killed" not in output
    assert old not in job.marked() and len(job.marked()) == 1
    node, cut = job.place
    output = job.deploy("1.0", 0, "10s")
    assert f"warning: {node}: {cut} did not end within 1s after SIGTERM, and was killed" in output
    assert "raise apps:job:stop:timeout" in output
    assert not job.done.exists() and cut not in job.marked()


def test_what_a_killed_supervisord_has_left_is_gone_with_the_next_deployment(job):
    job.deploy("1.0", 0, "10s")
    node, old = job.place
    agents = job.target.agents
    before = {p.pid for p in job.marked()[old]}
    os.kill(int((agents.folder / node / "supervisord.pid").read_text()), signal.SIGKILL)
    agents.start_supervisord(node)
    until(lambda: {p.pid for p in job.marked()[old]} & before, 20, "the orphan to be seen")
    job.deploy("1.1", 0, "10s")
    assert old not in job.marked()
    until(lambda: job.target.traces().clean, 20, "nothing but what is published to be there")


def test_a_broken_instance_blocks_nobody_and_is_repaired(job):
    job.deploy("1.1", 0, "10s")
    node, broken = job.place
    path = Path(job.target.agents.folder / node / "srv" / NAME / "instances" / broken / "instance.json")
    path.write_text("")
    release = path.parents[2] / "releases" / "1.0"
    release.unlink(missing_ok=True)
    release.symlink_to(".1.0@gone/files")
    code, output = job.target.cli.run("salt", "--out=json", "--static", node, "app.instances")
    assert code == 0 and json.loads(output)[node][broken]["recorded"] is False
    output = job.deploy("1.1", 0, "10s")
    assert f"{node}: {broken} is broken: {path}: instance.json is empty." in output
    assert f"{node}: {NAME} 1.0 is broken: {release}: its files are not there." in output
    assert len(job.target.traces().published) == 1 and len(job.marked()) == 1
    for found in job.target.agents.folder.glob(f"*/srv/{NAME}/instances/*/instance.json"):
        assert json.loads(found.read_text())["tested"]
    job.deploy("1.0", 0, "10s")
    assert job.target.traces().versions == ["1.0"]
