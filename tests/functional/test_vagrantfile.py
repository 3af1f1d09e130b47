"""The Vagrantfile makes of an environment's file what the lab makes of it, and Vagrant accepts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lab import LabError, environment

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "pillar/environments"
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
@pytest.mark.parametrize("name", ["production", "test"])
def test_the_same_machines_as_the_lab(name):
    found = machines(name, ENVIRONMENTS)
    assert found == environment.machines(ENVIRONMENTS, name)
    assert list(found) == list(environment.machines(ENVIRONMENTS, name))
    assert len(found) == 5


@needs_vagrant
def test_the_same_is_refused(tmp_path):
    (tmp_path / "all.sls").write_text("#!py\n")
    (tmp_path / "a.sls").write_text("environments: {a: {nodes: {n: {address: 10.0.0.1}}}}\n")
    for name, words in (("b", "Defined: a"), ("a", "give the role `master` to the one node")):
        assert words in machines(name, tmp_path)
        with pytest.raises(LabError, match=words):
            environment.machines(tmp_path, name)


@needs_vagrant
def test_addresses_that_virtualbox_refuses_are_named_unless_they_are_allowed(tmp_path):
    ask = 'load ARGV[0]; puts Saltdeploy.refused({"a" => {"address" => ARGV[1]}}, ARGV[2]).inspect'

    def refused(address, allowed):
        command = ["ruby", "-e", ask, ROOT / "Vagrantfile", address, allowed]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    absent, present = tmp_path / "absent", tmp_path / "networks.conf"
    present.write_text("* 10.0.0.0/8")
    assert "not 10.0.1.10" in refused("10.0.1.10", absent)
    assert "not 192.168.64.1" in refused("192.168.64.1", absent)
    assert refused("192.168.63.254", absent) == refused("10.0.1.10", present) == "nil"


@needs_vagrant
@pytest.mark.parametrize("name", ["production", "test"])
def test_vagrant_accepts_it(name, tmp_path):
    (tmp_path / "pillar").symlink_to(ROOT / "pillar")
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    home = {"VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_ENVIRONMENT": name}
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
