"""What the engine costs over the bare steps: ``make bench``.

``salt-run deploy.app`` of three instances, the release installed already and all waits for health at
zero, against one script that takes the same steps in the same waves by hand: LocalClient jobs and
Consul requests, nothing checked, nothing recorded, no lock, no way back. Side by side and
alternating, on the same three nodes, on this machine; only the ratio of the medians means anything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.support import apps
from tests.support.site import NODES, REPOSITORY, SCRIPTS, Agents, Cli, Pillar, until
from tooling.config import master_config, minion_config
from tooling.daemons import Daemon, Daemons

PORTS = (24705, 24706)
RELEASES = ("1.0", "1.1")
INSTANT = {
    "waves": ["100%"],
    "min_healthy_time": 0,
    "healthy_deadline": "30s",
    "progress_deadline": "120s",
    "drain": 0,
    "deregister_delay": 0,
}


def define(archives, agents):
    """Return the definitions: apps and environments."""
    web = archives.app(tests=[{"http": "/selftest"}])
    return {"web": web}, {"site": apps.environment(agents, strategy=INSTANT)}


@contextlib.contextmanager
def site(consul, define=define, nodes=NODES, deployed=True):
    """Nodes with a master, both releases of each app installed, the first one deployed; a Cli for them.

    :param define: makes the definitions, of an apps.Archives and the Agents.
    :param nodes: name -> address.
    :param deployed: False leaves the apps out.
    """
    folder = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    agents, daemons = Agents(folder / "n", consul, nodes), Daemons(folder)
    try:
        agents.start()
        yield prepared(folder, agents, daemons, define, deployed), agents
    finally:
        daemons.stop()
        agents.stop()
        shutil.rmtree(folder)


def prepared(folder, agents, daemons, define, deployed):
    archives = apps.Archives(folder / "artifacts")
    for release in RELEASES:
        archives.make(release)
    pillar = Pillar(folder / "pillar", "salt_master")
    definitions, environments = define(archives, agents)
    pillar.write(definitions, environments)
    user = "root" if os.geteuid() == 0 else os.environ["USER"]
    roots = [REPOSITORY / "salt", REPOSITORY / "benchmarks/states"]
    master = {**master_config(folder / "m", roots, pillar.folder, user, PORTS), "id": "salt_master"}
    start(daemons, folder, "master", "master", master)
    cli = Cli(folder / "master")
    assert cli.run("salt-run", "saltutil.sync_all")[0] == 0
    for node in agents.nodes:
        start(daemons, folder, "minion", node, minion_config(node, folder / node, user, PORTS, agents.settings(node)))
    until(lambda: cli.run("salt", "*", "test.ping")[1].count("True") == len(agents.nodes), 240, "the minions to answer")
    wanted = list(definitions) if deployed else []
    installations = [["app.install", name, f"'{release}'"] for name in wanted for release in RELEASES]
    for command in (["saltutil.sync_all"], *installations):
        code, output = cli.run("salt", "*", *command)
        assert code == 0, output
    for name in wanted:
        deploy(cli, RELEASES[0], name)
    return cli


def start(daemons, folder, kind, name, config):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / kind).write_text(yaml.safe_dump(config))
    command = (SCRIPTS / f"salt-{kind}", "-c", folder / name)
    daemons.start(Daemon(f"{kind}-{name}", tuple(map(str, command)), folder / f"{name}.log", "bench"))


def deploy(cli, release, name="web"):
    """Deploy with the engine; return seconds, and the peak memory of the runner's process in MB."""
    began = time.monotonic()
    process = cli.start("salt-run", "deploy.app", name, f"version='{release}'")
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return time.monotonic() - began, used.ru_maxrss / 1024


def by_hand(cli, release, agents):
    """The same with the bare script; return seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.by_hand", cli.config_dir, release, agents.url("web1")]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consul", required=True, help="path of a Consul")
    parser.add_argument("--rounds", type=int, default=7, help="of each, after one that does not count")
    options = parser.parse_args()
    times, memory = {"deploy.app": [], "by hand": []}, 0
    with site(options.consul) as (cli, agents):
        for number in range(options.rounds + 1):
            # The releases alternate, so that each run replaces what the one before it started.
            (engine, peak), bare = deploy(cli, RELEASES[1]), by_hand(cli, RELEASES[0], agents)
            memory = max(memory, peak)
            print(f"round {number}: deploy.app {engine:.2f} s, by hand {bare:.2f} s", flush=True)
            if number:
                times["deploy.app"].append(engine)
                times["by hand"].append(bare)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"medians: deploy.app {medians['deploy.app']:.2f} s, by hand {medians['by hand']:.2f} s")
    print(f"ratio: {medians['deploy.app'] / medians['by hand']:.2f} (at most 1.5)")
    print(f"peak memory of the runner: {memory:.0f} MB")


if __name__ == "__main__":
    main()
