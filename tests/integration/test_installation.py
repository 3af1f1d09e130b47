"""The ways in: synced from file roots (the shared site is), and pip, plain and editable."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.support import apps
from tests.support.gitserver import SSHD, Sshd
from tests.support.site import REPOSITORY, Cli, Pillar, until
from tooling.config import master_config, minion_config
from tooling.daemons import Daemon, Daemons

NODE = "piped1"
# A machine without a minion.
HOST = "db1"
FUNCTIONS = ("app.observe", "discovery.find")


def test_file_roots_and_sync_bring_everything(minions, cli, folder):
    """Nothing of ours is installed with pip where the shared site runs; that it deploys is in test_deploy."""
    code, output = cli.run("salt", "web1", "--out=json", "--static", "sys.list_functions", "app", "discovery")
    assert code == 0
    assert set(FUNCTIONS) <= set(json.loads(output)["web1"])
    code, output = cli.run("salt", "web1", "--out=json", "--static", "sys.list_state_functions", "app", "discovery")
    states = {
        "app.installed",
        "app.running",
        "app.deployed",
        "app.absent",
        "discovery.published",
        "discovery.withdrawn",
    }
    assert states <= set(json.loads(output)["web1"])
    where = subprocess.run([sys.executable, "-c", "import saltdeploy"], cwd=folder, capture_output=True, text=True)
    assert "ModuleNotFoundError" in where.stderr


@pytest.fixture(params=["plain", "editable"])
def installed(request, tmp_path_factory):
    """The bin folder of a virtualenv with Salt, and this bundle installed as README says."""
    folder = tmp_path_factory.mktemp(request.param)
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(REPOSITORY, source, symlinks=True, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    bin_ = folder / "venv/bin"
    # Salt and the rest are those the tests run with: only this bundle is installed anew.
    site = subprocess.check_output([bin_ / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    Path(site.decode().strip(), "salt.pth").write_text(sysconfig.get_path("purelib"))
    command = [bin_ / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    where = ["--editable", str(source)] if request.param == "editable" else [str(source)]
    subprocess.run([*command, *where], check=True)
    for name in ("salt", "salt-run", "salt-master", "salt-minion", "salt-call", "salt-ssh"):
        script = bin_ / name
        function = name.replace("-", "_") + ("_main" if name == "salt" else "")
        script.write_text(f"#!{bin_}/python\nfrom salt.scripts import {function} as main\nmain()\n")
        script.chmod(0o755)
    return bin_


@pytest.fixture
def piped(installed, agents, folder, archives, request):
    """A master and a minion out of that virtualenv, on web1's agent; a Cli for them."""
    archives.make("1.0")
    root = folder / "p"
    daemons = Daemons(root)
    root.mkdir()
    pillar = Pillar(root / "pillar", "piped_master")
    nodes = {NODE: {"address": agents.nodes["web1"]}, HOST: {"address": agents.nodes["web2"], "roles": ["db"]}}
    tests = [{"http": "/selftest"}, {"http": "/selftest", "from": "master"}]
    settings = apps.environment(agents, nodes=nodes, apps={"piped": {"version": "1.0"}})
    pillar.write({"piped": archives.app(tests=tests, ports="22000-22009")}, {"piped": settings})
    tree = subprocess.check_output([installed / "python", "-m", "saltdeploy.loader"], text=True).strip()
    user, ports = ("root" if os.geteuid() == 0 else os.environ["USER"]), (24605, 24606)
    master = {
        **master_config(root / "m", [tree], pillar.folder, user, ports),
        "id": "piped_master",
        "auto_accept": True,
    }
    saltdeploy = {**agents.settings("web1"), "root": str(root / "srv")}
    minion = minion_config(NODE, root / "w", user, ports, saltdeploy)
    for name, config in (("master", master), ("minion", minion)):
        (root / name).mkdir()
        (root / name / name).write_text(yaml.safe_dump(config))
        command = (installed / f"salt-{name}", "-c", root / name)
        daemons.start(Daemon(name, tuple(map(str, command)), root / f"{name}.log", "test"))
    cli = Cli(root / "master", installed)
    try:
        # While its key is not there yet, "No minions matched" and exits with 0.
        until(lambda: "True" in cli.run("salt", NODE, "test.ping")[1], 60, "the minion to answer")
        yield cli
        cli.run("salt", NODE, "app.stop", "piped", "drain=0")
    finally:
        daemons.stop()
        shutil.rmtree(root)


def test_pip_brings_everything(piped, agents, folder, request):
    code, output = piped.deploy("app", "piped")
    assert code == 0, output
    assert "piped 1.0 is published in piped: 1 instance of 1.0 on piped1" in output
    assert [version for _, _, version in agents.passing("piped").values()] == ["1.0"]
    if request.node.callspec.params["installed"] == "editable":
        return
    if not SSHD:
        pytest.skip("needs sshd, of the package openssh-server")
    printed = published_over_ssh(piped, folder / "p", "postgres", "port=8500")
    assert [f"postgres {word} published" in text for word, text in zip(("was", "is"), printed)] == [True, True], printed
    until(lambda: agents.passing("postgres"), 20, "the service to pass its check")
    assert agents.passing("postgres") == {(HOST, "postgres"): (agents.nodes["web2"], 8500, None)}
    with agents.backend("web2") as backend:
        backend.withdraw("postgres")
    # The runner asks minions only.
    code, output = piped.deploy("app", "piped", f"nodes={HOST}")
    assert code == 3 and HOST in output, output


def published_over_ssh(cli, folder, *service):
    """Publish a service on HOST, which has no minion, with salt-ssh, twice. Return what is printed each time."""
    sshd = Sshd(folder)
    (folder / "known_hosts").write_text(f"{sshd.known_hosts}\n")
    host = {
        "host": sshd.host,
        "port": sshd.port,
        "user": getpass.getuser(),
        "priv": str(sshd.key),
        "ssh_options": [f"UserKnownHostsFile={folder}/known_hosts"],
        "thin_dir": str(folder / "thin"),
        "set_path": f"{cli.scripts}:$PATH",
        "minion_opts": {"cachedir": str(folder / "ssh")},
    }
    (folder / "roster").write_text(yaml.safe_dump({HOST: host}))
    command = ("salt-ssh", f"--roster-file={folder}/roster", HOST, "state.single", "discovery.published", *service)
    sshd.start()
    try:
        return [cli.run(*command)[1] for _ in range(2)]
    finally:
        sshd.stop()
