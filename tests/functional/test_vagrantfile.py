"""The Vagrantfile makes of an environment's file what the lab makes of it, and Vagrant accepts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import environment
from tooling import ToolError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "pillar/environments"
# The environments that are shipped, and the number of their nodes.
NAMES = {"production": 5, "test": 5, "development": 1}
PRINT = 'load ARGV[0]; require "json"; puts Saltdeploy.machines(ARGV[1], ARGV[2]).to_json'

needs_vagrant = pytest.mark.skipif(
    not (shutil.which("vagrant") and shutil.which("ruby")) and "CI" not in os.environ, reason="needs vagrant and ruby"
)


def machines(name, folder):
    """Return what the Vagrantfile makes of an environment, or what it says is wrong with it."""
    command = ["ruby", "-e", PRINT, ROOT / "Vagrantfile", name, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


@needs_vagrant
@pytest.mark.parametrize("name", NAMES)
def test_the_same_machines_as_the_lab(name):
    found = machines(name, ENVIRONMENTS)
    assert found == environment.machines(ENVIRONMENTS, name)
    assert list(found) == list(environment.machines(ENVIRONMENTS, name))
    assert len(found) == NAMES[name]


@needs_vagrant
def test_the_same_is_refused(tmp_path):
    (tmp_path / "all.sls").write_text("#!py\n")
    (tmp_path / "a.sls").write_text("environments: {a: {nodes: {n: {address: 10.0.0.1}}}}\n")
    for name, words in (("b", "Defined: a"), ("a", "give the role `master` to the one node")):
        assert words in machines(name, tmp_path)
        with pytest.raises(ToolError, match=words):
            environment.machines(tmp_path, name)


ONE = "environments: {a: {nodes: &all {n: {address: 10.0.0.1, roles: [master]}}}, b: {nodes: *all}}\n"


@needs_vagrant
@pytest.mark.parametrize("first", ["", "#!yaml", "#!yaml|gpg", "#! yaml | gpg ", "\ufeff# a comment"])
def test_a_file_is_read_whatever_plain_yaml_calls_itself(tmp_path, first):
    (tmp_path / "a.sls").write_text(f"{first}\n{ONE}")
    assert (
        machines("b", tmp_path)
        == environment.machines(tmp_path, "b")
        == {"n": {"address": "10.0.0.1", "roles": ["master"]}}
    )


@needs_vagrant
@pytest.mark.parametrize("first", ["#!py", "#!jinja|yaml"])
def test_a_program_is_no_file_of_environments(tmp_path, first):
    (tmp_path / "a.sls").write_text(f"{first}\n{ONE}")
    assert "no environment 'b'" in machines("b", tmp_path)
    with pytest.raises(ToolError, match="no environment 'b'"):
        environment.machines(tmp_path, "b")


def refused(networks, *addresses):
    """Return the sentence on addresses that VirtualBox refuses with this file of networks, None if there is none."""
    ask = 'load ARGV[0]; require "json"; puts Saltdeploy.refused(JSON.parse(ARGV[1]), ARGV[2]).to_json'
    nodes = {f"n{number}": {"address": address} for number, address in enumerate(addresses)}
    command = ["ruby", "-e", ask, ROOT / "Vagrantfile", json.dumps(nodes), networks]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@needs_vagrant
def test_addresses_that_virtualbox_refuses_are_named_with_the_line_that_allows_them(tmp_path):
    absent = tmp_path / "networks.conf"
    assert refused(absent, "192.168.56.1", "192.168.63.254") is None
    assert refused(absent, "10.0.1.10", "192.168.56.1", "10.0.2.10", "10.0.1.11", "fd00::11") == (
        "VirtualBox refuses 10.0.1.10, 10.0.2.10, 10.0.1.11, fd00::11. The networks that it allows: 192.168.56.0/21. Write"
        f" the line `* 10.0.1.0/24 192.168.56.0/24 10.0.2.0/24 fd00::/64` into {absent}, or give the nodes other"
        " addresses."
    )
    assert "refuses 192.168.64.1. " in refused(absent, "192.168.64.1")
    for name in NAMES:
        assert refused(absent, *(m["address"] for m in machines(name, ENVIRONMENTS).values())) is None


@needs_vagrant
def test_what_the_file_of_networks_lists_counts_and_nothing_else(tmp_path):
    listed = tmp_path / "networks.conf"
    listed.write_text("# * 172.16.0.0/12\n\n* 10.0.0.0/23 10.0.8.0/24\n  *fd00::/8\n")
    assert refused(listed, "10.0.0.11", "10.0.1.11", "10.0.8.1", "fd00::11") is None
    for address in ("10.0.2.11", "172.16.0.1", "192.168.56.1", "fe80::1"):
        allowed = "10.0.0.0/23, 10.0.8.0/24, fd00::/8"
        said = f"refuses {address}. The networks that it allows: {allowed}. "
        assert said in refused(listed, "10.0.0.11", address)
    line = refused(listed, "10.0.0.11", "10.0.2.11").split("`")[1]
    listed.write_text(f"{line}\n")
    assert refused(listed, "10.0.0.11", "10.0.2.11") is None
    listed.write_text("")
    assert "The networks that it allows: none. " in refused(listed, "192.168.56.1")


@needs_vagrant
@pytest.mark.parametrize("name", NAMES)
def test_vagrant_accepts_it(name, tmp_path):
    (tmp_path / "pillar").symlink_to(ROOT / "pillar")
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    home = {"VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_ENVIRONMENT": name}
    home["VAGRANT_WORKING_COPY"] = str(tmp_path / "pillar")
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=tmp_path,
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "validated successfully" in done.stdout, done.stdout + done.stderr
    keys = sorted(path.name for path in (tmp_path / ".vagrant/saltdeploy").iterdir())
    assert keys == sorted(f"{m}.{kind}" for m in machines(name, ENVIRONMENTS) for kind in ("pem", "pub"))


@needs_vagrant
def test_a_working_copy_is_a_folder_of_each_machine(tmp_path):
    ask = 'load ARGV[0]; require "json"; puts Saltdeploy.working_copy.to_json'

    def copy(path):
        command = ["ruby", "-e", ask, ROOT / "Vagrantfile"]
        given = {**os.environ, "VAGRANT_WORKING_COPY": str(path)}
        return json.loads(subprocess.run(command, env=given, capture_output=True, text=True, check=True).stdout)

    assert copy(tmp_path / "shop") == [str(tmp_path / "shop"), "/srv/shop"]
    assert copy("") is None
