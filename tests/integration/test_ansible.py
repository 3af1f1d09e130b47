"""Releases that a playbook of Ansible makes on real nodes, and a playbook that deploys."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import apps
from tests.support.site import REPOSITORY, SCRIPTS

NAME, SECRET = "played", "hunter2-planted"
UNPACK = {
    "name": "Unpack the program",
    "ansible.builtin.unarchive": {
        "src": "{{ archives }}/web-{{ version }}.tar.gz",
        "dest": "{{ directory }}",
        "remote_src": True,
    },
}
LOGIN = {"name": "Note the login", "ansible.builtin.copy": {"content": "{{ token }}", "dest": "{{ directory }}/login"}}
BROKEN = {"name": "Break off", "ansible.builtin.fail": {"msg": "no, and {{ token }}"}}


class Shop:
    """An app whose releases a playbook makes, from a folder of the master's files."""

    def __init__(self, folder, cli, agents):
        self.tasks, self.cli, self.agents = folder / "roles/web/tasks/main.yml", cli, agents
        self.tasks.parent.mkdir(parents=True)
        # JSON is YAML, too.
        (folder / "site.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": ["web"]}]))

    def write(self, *tasks):
        self.tasks.write_text(json.dumps(tasks))

    def deploy(self, function, *args, code=0):
        found, output = self.cli.deploy(function, NAME, *args)
        assert found == code and SECRET not in output, output
        return output

    def serving(self):
        return sorted(version for _, _, version in self.agents.passing(NAME).values())

    def roots(self):
        return [Path(self.agents.settings(node)["root"]) for node in self.agents.nodes]

    def files(self):
        """Return all that is in the folders of releases, beside the locks."""
        folders = [root / NAME / "releases" for root in self.roots()]
        found = [p.name for folder in folders if folder.is_dir() for p in folder.iterdir() if p.name != ".lock"]
        return sorted(name.split("@")[0] for name in found)


@pytest.fixture(scope="module")
def shop(minions, cli, archives, pillar, agents, folder):
    for version in ("1.0", "1.1"):
        archives.make(version)
    place = folder / "tree" / "played"
    shop = Shop(place, cli, agents)
    source = {"ansible": "salt://played", "vars": {"archives": str(archives.folder), "token": SECRET}}
    definition = archives.app(source=source, ports="23000-23009", tests=[{"http": "/selftest"}])
    site = apps.environment(agents, apps={NAME: {"version": "1.0", "instances": 2}})
    # The first installation brings Ansible to its node, on a machine that may be busy.
    site["strategy"]["progress_deadline"] = "5m"
    pillar.write({NAME: definition}, {"site": site})
    yield shop
    shop.deploy("remove", "confirm=True")
    pillar.write({}, {})
    shutil.rmtree(place)
    for root in shop.roots():
        shutil.rmtree(root / ".ansible", ignore_errors=True)


@pytest.fixture
def play(shop):
    """Run the playbook of the how-to, with the Ansible of a node. Return its exit code and its output."""
    salt_run = [str(SCRIPTS / "salt-run"), "-c", shop.cli.config_dir]
    variables = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "LC_ALL": "C.UTF-8"}

    def run(version, *args):
        program = next(p for root in shop.roots() for p in root.glob(".ansible/*/files/bin/ansible-playbook"))
        given = json.dumps({"app": NAME, "env": "site", "version": version, "salt_run": salt_run})
        command = [program, "-i", "localhost,", "-c", "local", "-e", given, *args]
        done = subprocess.run(
            [*command, REPOSITORY / "docs/howto/ansible/deploy.yml"],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert SECRET not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.thorough
def test_a_playbook_makes_releases_and_another_deploys_them(shop, play, master):
    shop.write(UNPACK, LOGIN)
    shop.deploy("app")
    assert shop.serving() == ["1.0", "1.0"]
    releases = [p for root in shop.roots() for p in root.glob(f"{NAME}/releases/1.0")]
    assert [(release / "login").read_text() for release in releases] == [SECRET, SECRET]
    assert [p for root in shop.roots() for p in root.rglob("release.json") if SECRET in p.read_text()] == []
    jobs = [p for p in (Path(master.config["cachedir"]) / "jobs").rglob("*") if p.is_file()]
    assert [p for p in jobs if SECRET.encode() in p.read_bytes()] == []

    output = shop.deploy("app", "version='1.1'", "test=True")
    changed = "Note the login (roles/web/tasks/main.yml:1)\n      --- before\n      +++ after: <directory>/login"
    assert re.search(f"the playbook would change on web[123], web[123]: web : {re.escape(changed)}", output), output
    assert "+***" in output and shop.files() == [".1.0", ".1.0", "1.0", "1.0"]

    shop.write(UNPACK, LOGIN, BROKEN)
    code, output = play("1.1")
    assert code == 2 and "played 1.1 failed, and was reverted." in output, output
    assert "site.yml: the task `web : Break off` (roles/web/tasks/main.yml:1) failed: no, and ***" in output
    assert shop.serving() == ["1.0", "1.0"] and shop.files() == [".1.0", ".1.0", "1.0", "1.0"]
    code, output = play("no such version")
    assert code == 2 and "no such version was refused, and nothing was changed." in output, output

    # The playbook is another by now. The installed release does not need it.
    shop.write(LOGIN, UNPACK)
    code, output = play("1.1")
    assert code == 0 and "changed=1" in output and shop.serving() == ["1.1", "1.1"], output
    # The plan of a deployment that is done.
    code, output = play("1.1", "--check")
    assert code == 0 and "no changes" in output and "changed=0" in output, output
    shop.deploy("rollback")
    assert shop.serving() == ["1.0", "1.0"]
    # A node that would get another content under the same version.
    output = shop.deploy("scale", "instances=3", code=1)
    assert "played 1.0 has two contents: sha256 " in output, output
