"""The source kind ansible, with the real Ansible and no node around it."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.core.model import Source
from saltdeploy.source import Installation, choose
from saltdeploy.source.artifacts import Artifacts
from saltdeploy.system import processes

from tests.support.files import umask

SECRET = "hunter2-planted"
PLACE = "salt://shop/ansible"


@pytest.fixture(scope="module")
def root():
    """A node's folder, where Ansible is installed once for all tests."""
    path = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


class Node:
    """A node whose master has a playbook's folder."""

    def __init__(self, root, folder):
        self.root, self.folder, self.releases = root, folder, root / "shop" / "releases"
        self.folder.mkdir()

    def write(self, tasks, name="site.yml", **play):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # JSON is YAML, too.
        plays = [{"hosts": "all", "gather_facts": False, "tasks": tasks, **play}]
        path.write_text(json.dumps(tasks if "roles/" in name else plays))

    def installation(self, seconds=120.0):
        with umask(0o022):
            self.releases.mkdir(parents=True, exist_ok=True)
            build = Path(tempfile.mkdtemp(dir=self.releases))
            build.chmod(0o755)
            (build / "files").mkdir()
        artifacts = Artifacts(self.root, "shop", self.releases)
        return Installation("1.0", build / "files", self.fetch, artifacts, seconds=seconds)

    def fetch(self, url, path):
        assert url == f"{PLACE}/"
        shutil.copytree(self.folder, path, dirs_exist_ok=True)

    def install(self, seconds=120.0, **source):
        """Return the data of a release, and its folder. Nothing but the release may be left, also if it fails."""
        there = self.installation(seconds)
        try:
            with umask(0o022):
                return choose(Source("ansible", PLACE, **source)).install(there), there.target
        finally:
            assert os.listdir(there.target.parent) == ["files"]
            assert processes.using(there.target.parent) == []

    def preview(self, **source):
        there = self.installation()
        found = choose(Source("ansible", PLACE, **source)).preview(there, self.root)
        assert os.listdir(there.target) == []
        return found


@pytest.fixture
def node(root, tmp_path):
    yield Node(root, tmp_path / "ansible")
    shutil.rmtree(root / "shop")


def into(name, content="{{ app }} {{ version }}"):
    return {"name": f"Write {name}", "ansible.builtin.copy": {"content": content, "dest": "{{ directory }}/" + name}}


def collection(path):
    """Write a collection, with a role that writes a file, as ansible-galaxy builds it."""
    task = json.dumps([into("from-archive")]).encode()
    files = {"roles/extra/tasks/main.yml": task}
    entries = [{"name": ".", "ftype": "dir", "chksum_type": None, "chksum_sha256": None, "format": 1}]
    for folder in ("roles", "roles/extra", "roles/extra/tasks"):
        entries.append({**entries[0], "name": folder})
    about = {"ftype": "file", "chksum_type": "sha256", "format": 1}
    entries += [{**about, "name": name, "chksum_sha256": sha256(data).hexdigest()} for name, data in files.items()]
    listed = json.dumps({"files": entries, "format": 1}).encode()
    info = {"namespace": "acme", "name": "extra", "version": "1.2.3", "authors": ["acme"], "readme": "README.md"}
    info.update(tags=[], description="", license=[], license_file=None, dependencies={}, repository="x")
    info.update(documentation=None, homepage=None, issues=None)
    file = {**about, "name": "FILES.json", "chksum_sha256": sha256(listed).hexdigest()}
    manifest = json.dumps({"collection_info": info, "file_manifest_file": file, "format": 1}).encode()
    with tarfile.open(path, "w:gz") as out:
        for name, data in {"MANIFEST.json": manifest, "FILES.json": listed, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
        for entry in entries[1:4]:
            member = tarfile.TarInfo(entry["name"])
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            out.addfile(member)


def test_a_playbook_with_roles_and_collections_makes_a_release(node):
    node.write([into("from-role", "{{ release }} {{ token }}")], "roles/shop/tasks/main.yml")
    node.write([into("from-vendored")], "collections/ansible_collections/acme/tools/roles/vendored/tasks/main.yml")
    collection(node.folder / "acme-extra-1.2.3.tar.gz")
    # Neither the configuration of the playbook's folder nor that of root counts.
    (node.folder / "ansible.cfg").write_text("[defaults]\nroles_path = /nowhere\nstdout_callback = minimal\n")
    # Secrets are neither in a command line nor in the environment.
    look = f"! grep -la [{SECRET[0]}]{SECRET[1:]} /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    background = "nohup sleep 300 >/dev/null 2>&1 &"
    tasks = [
        {"name": "Nobody sees it", "ansible.builtin.shell": look},
        {"name": "A process stays", "ansible.builtin.shell": background},
        {"name": "May fail", "ansible.builtin.command": "false", "ignore_errors": True},
        {"block": [{"ansible.builtin.command": "false"}], "rescue": [into("rescued")]},
    ]
    node.write(tasks, roles=["shop", "acme.tools.vendored", "acme.extra.extra"])
    made, target = node.install(vars={"token": SECRET}, collections=("acme-extra-1.2.3.tar.gz",))
    assert sorted(os.listdir(target)) == ["from-archive", "from-role", "from-vendored", "rescued"]
    assert (target / "from-vendored").read_text() == "shop 1.0"
    assert (target / "from-role").read_text() == f"{node.releases / '1.0'} {SECRET}"
    assert "ansible-core==2.19.14" in made["packages"]
    [virtualenv] = (node.root / ".ansible").glob("[!.]*")
    # Ansible is not installed again.
    first = virtualenv.stat().st_ino
    node.write([into("other")])
    assert node.install()[0]["artifact"] != made["artifact"]
    assert virtualenv.stat().st_ino == first


def test_a_playbook_comes_in_an_archive(node):
    node.write([into("a")], "play/main.yml")
    archive = node.folder.parent / "shop.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        out.add(node.folder, "shop-1.0")
    digest = sha256(archive.read_bytes()).hexdigest()
    source = Source("ansible", str(archive), sha256=digest, strip=1, playbook="play/main.yml")
    there = node.installation()
    assert choose(source).install(there)["artifact"] == digest
    assert os.listdir(there.target) == ["a"] and os.listdir(there.target.parent) == ["files"]
    wrong = Source("ansible", str(archive), sha256="0" * 64, playbook="play/main.yml")
    with pytest.raises(Failed, match="shop.tar.gz: wrong digest"):
        choose(wrong).install(node.installation())


@pytest.mark.parametrize(
    "tasks, message",
    [
        (
            [{"name": "Loop", "ansible.builtin.shell": "echo {{ token }} says no; exit {{ item }}", "loop": [0, 3]}],
            r"site.yml: the task `Loop` \(site.yml:1\) failed: item 3: non-zero return code\n\*\*\* says no",
        ),
        (
            [{"name": "Login", "ansible.builtin.shell": "echo a-wrong-password; exit 1", "no_log": True}],
            r"the task `Login` \(site.yml:1\) failed: the output has been hidden due to .*no_log",
        ),
        (
            [
                {
                    "name": "Elsewhere",
                    "ansible.builtin.ping": {},
                    "delegate_to": "other",
                    "vars": {"ansible_connection": "ssh", "ansible_ssh_executable": "/bin/false"},
                }
            ],
            "the task `Elsewhere` .* cannot reach its host: ",
        ),
        ([{"name": "Misspelt", "ansible.builtin.copi": {}}], "exit code 4: .*ERROR.*couldn't resolve module/action"),
        ([{"name": "Nothing", "ansible.builtin.ping": {}}], "site.yml: it left the folder of the release empty"),
    ],
)
def test_a_playbook_that_fails_says_why(node, tasks, message):
    node.write(tasks)
    with pytest.raises(Failed, match=f"(?s){message}") as caught:
        node.install(vars={"token": SECRET})
    assert SECRET not in str(caught.value) and "a-wrong-password" not in str(caught.value)


def test_a_playbook_for_other_hosts_and_a_missing_playbook(node):
    node.write([into("a")], hosts="webservers")
    with pytest.raises(Failed, match="no task of it ran. The host of its plays is `localhost`"):
        node.install()
    with pytest.raises(Failed, match="source:playbook: salt://shop/ansible has no file other.yml"):
        node.install(playbook="other.yml")


def test_the_time_of_a_playbook_ends_with_all_its_processes(node, tmp_path):
    pids = tmp_path / "pids"
    nested = f"setsid sh -c 'echo $$ >> {pids}; sleep 300' & echo $$ >> {pids}; sleep 300"
    node.write([into("half"), {"name": "Hang", "ansible.builtin.shell": nested}])
    began = time.monotonic()
    with pytest.raises(Failed, match=r"site.yml: killed after \d+s, in the task `Hang`"):
        node.install(seconds=12.0)
    assert time.monotonic() - began < 60
    assert len(pids.read_text().split()) == 2
    assert not [pid for pid in pids.read_text().split() if processes.read(int(pid))]


def test_check_mode_changes_nothing_and_shows_the_differences(node, tmp_path):
    shown = tmp_path / "shown.conf"
    shown.write_text("old\n")
    tasks = [
        {"name": "Shown", "ansible.builtin.copy": {"content": "new {{ token }}\n", "dest": str(shown)}},
        {"name": "Hidden", "ansible.builtin.copy": {"content": "quiet\n", "dest": f"{shown}.2"}, "no_log": True},
        {"name": "Skipped", "ansible.builtin.command": f"touch {shown}.3"},
        into("a"),
    ]
    node.write(tasks)
    found = node.preview(vars={"token": SECRET})
    assert [text.split(" (")[0] for text in found] == ["Shown", "Hidden", "Write a"]
    assert "\n-old\n+new ***" in found[0] and "quiet" not in found[1] and "<directory>/a" in found[2]
    assert shown.read_text() == "old\n" and os.listdir(tmp_path).count("shown.conf.2") == 0


def test_an_ansible_that_does_not_exist_leaves_nothing(node):
    node.write([into("a")])
    before = sorted(os.listdir(node.root / ".ansible"))
    with pytest.raises(Failed, match="pip install ansible-core==0.0.1: ERROR: .*ansible-core==0.0.1"):
        node.install(requirements=("ansible-core==0.0.1",))
    left = {name for name in os.listdir(node.root / ".ansible") if not name.endswith(".lock")}
    assert left <= set(before)
