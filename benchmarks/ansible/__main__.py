"""A rolling deployment with saltdeploy, with Ansible, and with Ansible and Mitogen: ``make bench-ansible``.

The same work on the same booted hosts, by turns: a release that no node has, one instance a node, in waves of one node
and then of all others. The new instance starts beside the old one, passes a check and a test, is registered in Consul
and found there, and then the old one is withdrawn, not found any more, and ended. All run on the host of the Salt
master. Ansible goes over ssh with pipelining, connections that are kept, no facts, and as many forks as nodes.

Before each run, the processors are idle for three seconds. The first round does not count. Only the ratios of the
medians mean anything.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from importlib import metadata
from pathlib import Path

import mitogen

from benchmarks.deploy import INSTANT
from lab import hosts
from lab.site import SCRIPTS, Site
from tests.support.apps import Archives
from tests.support.site import REPOSITORY, Pillar
from tooling import getconsul

MASTER, SERVERS, ENVIRONMENT, APP = "salt1", 3, "site", "shop"
WAYS = ("saltdeploy", "Ansible", "Ansible with Mitogen")
HERE = Path(__file__).parent
# Where hosts see the playbook, and the archives for it; and where the master keeps the key to them.
PLAYBOOK, ARCHIVES, KEY = "/srv/bench", "/srv/bench/archives", "/root/.ssh/id_ed25519"
SSH = "-o ControlMaster=auto -o ControlPersist=60s -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
# The most of the processors' time that others may use before a run, and seconds: to look, and until they must be idle.
BUSY, LOOK, PATIENCE = 0.15, 3.0, 300.0
COMMAND = 600
PORTS = (22000, 22001)


class Bench:
    """An environment of a master and ``size`` nodes, on which both deploy.

    :param rounds: of each, after one that does not count.
    """

    def __init__(self, lab, addresses, folder, size, rounds):
        self.lab, self.addresses, self.folder = lab, addresses, folder
        self.webs = [f"web{number}" for number in range(1, size + 1)]
        self.rounds, self.size = rounds, size
        # The release that the playbook has deployed last, and its port.
        self.last = ("", PORTS[1])

    def prepare(self):
        """Boot the hosts, and bring them to a running Consul with an sshd."""
        roles = {
            name: ["app", *(["consul-server"] if number < SERVERS else [])] for number, name in enumerate(self.webs)
        }
        roles = {MASTER: ["master"], **roles}
        machines = {name: {"address": self.addresses[name], "roles": about} for name, about in roles.items()}
        self.site = Site(self.lab, REPOSITORY, machines, self.folder / "pillar")
        self.pillar = Pillar(self.folder / "pillar", "salt_master")
        self.pillar.write({}, {})
        self.site.serve_consul(getconsul.VERSION, REPOSITORY / ".demo/bin")
        archives = Archives(self.site.files / "artifacts")
        versions = [f"1.{number}" for number in range(len(WAYS) * (self.rounds + 1))]
        for version in versions:
            archives.make(version)
        self.versions = iter(versions)
        self.site.boot()
        self.site.accept()
        source = {"archive": "salt://artifacts/web-{version}.tar.gz", "sha256": archives.digests}
        definition = {
            "nodes": machines,
            "consul": {"version": getconsul.VERSION},
            "apps": {APP: {"version": versions[0], "instances": self.size}},
            "strategy": {**INSTANT, "waves": [1, "100%"]},
        }
        app = archives.app(source=source, tests=[{"http": {"path": "/selftest", "contains": "release"}}])
        self.pillar.write({APP: app}, {ENVIRONMENT: definition})
        self.site.sync()
        self.site.salt("saltutil.refresh_pillar", "wait=True")
        for states in self.site.highstate().values():
            assert all(state["result"] for state in states.values()), states
        self._prepare_ansible(archives, versions)

    def _prepare_ansible(self, archives, versions):
        master = self.site.master
        root = master.root / PLAYBOOK.lstrip("/")
        (root / "archives").mkdir(parents=True)
        for name in ("playbook.yml", "web.service.j2"):
            shutil.copy(HERE / name, root)
        for version in versions:
            below(archives.folder / f"web-{version}.tar.gz", f"web-{version}", root / "archives")
        nodes = {n: {"ansible_host": self.addresses[n], "address": self.addresses[n]} for n in self.webs}
        common = {"ansible_user": "root", "ansible_python_interpreter": "/usr/bin/python3"}
        inventory = {"web": {"hosts": nodes, "vars": {**common, "archives": ARCHIVES}}}
        (root / "inventory.yml").write_text(json.dumps(inventory))
        for name in (MASTER, *self.webs):
            host = self.lab.host(name)
            host.run("apt-get", "update")
            host.run("apt-get", "install", "--yes", "--no-install-recommends", "openssh-server", timeout=COMMAND)
            (host.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
        master.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
        public = (master.root / f"{KEY.lstrip('/')}.pub").read_text()
        for name in self.webs:
            (self.lab.host(name).root / "root/.ssh/authorized_keys").write_text(public)
            self.lab.host(name).run("mkdir", "-p", "/srv/ansible")
        secrets = json.loads((master.root / f"etc/salt/pki/master/saltdeploy/{ENVIRONMENT}.json").read_text())
        self.token = secrets["tokens"]["management"]

    def run(self, way):
        """Deploy the next release; return the seconds that it took."""
        version = next(self.versions)
        if way == WAYS[0]:
            words = ["salt-run", "deploy.app", APP, f"env={ENVIRONMENT}", f"version='{version}'"]
        else:
            words = self._playbook(way, version)
        idle()
        began = time.monotonic()
        printed = self.site.master.run(*words, timeout=COMMAND)
        taken = time.monotonic() - began
        if way == WAYS[0]:
            self.printed = printed.splitlines()
        return taken

    def _playbook(self, way, version):
        variables = {
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_HOST_KEY_CHECKING": "0",
            "ANSIBLE_SSH_ARGS": SSH,
            "ANSIBLE_FORKS": str(len(self.webs)),
            "LC_ALL": "C.UTF-8",
        }
        if way == WAYS[2]:
            plugins = Path(mitogen.__file__).parents[1] / "ansible_mitogen/plugins/strategy"
            variables.update(ANSIBLE_STRATEGY_PLUGINS=str(plugins), ANSIBLE_STRATEGY="mitogen_linear")
        # Each playbook replaces the instances of the one before, with Mitogen or without.
        old, port = self.last
        self.last = (version, PORTS[1 - PORTS.index(port)])
        about = {"release": version, "old": old, "app_port": self.last[1], "token": self.token}
        command = [f"{SCRIPTS}/ansible-playbook", "-i", f"{PLAYBOOK}/inventory.yml", f"{PLAYBOOK}/playbook.yml"]
        settings = [f"{key}={value}" for key, value in variables.items()]
        return ["env", *settings, *command, "-e", json.dumps(about)]


def below(archive, folder, target):
    """Pack an archive again with all that it has below ``folder``, into ``target``."""
    with tarfile.open(archive) as source, tarfile.open(target / f"{folder}.tar.gz", "w:gz") as made:
        for member in source.getmembers():
            data = source.extractfile(member).read()
            member.name = f"{folder}/{member.name}"
            made.addfile(member, io.BytesIO(data))


def idle():
    """Wait until others have used little of the processors for some seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        before = used()
        time.sleep(LOOK)
        share = (used() - before) / (LOOK * os.sysconf("SC_CLK_TCK") * os.cpu_count())
        if share < BUSY:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"this machine is not idle: {share:.0%} of its processors is in use")


def used():
    """Return the time that all processors have worked so far, in ticks."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return user + nice + system + interrupts + soft


def measure(size, rounds):
    """Return ``{way: [seconds]}`` on ``size`` nodes, and what the last ``deploy.app`` printed."""
    addresses = hosts.free_addresses([MASTER, *(f"web{number}" for number in range(1, size + 1))])
    folder = Path(tempfile.mkdtemp(prefix="sd-bench-"))
    with hosts.Lab(wait=hosts.OTHERS) as lab:
        try:
            lab.up(REPOSITORY / ".lab", addresses)
            bench = Bench(lab, addresses, folder, size, rounds)
            bench.prepare()
            taken = {way: [] for way in WAYS}
            for number in range(rounds + 1):
                for way in WAYS:
                    seconds = bench.run(way)
                    print(f"{size} nodes, round {number}: {way} {seconds:.1f} s", flush=True)
                    taken[way] += [round(seconds, 2)] if number else []
            return taken, bench.printed
        finally:
            lab.down()
            shutil.rmtree(folder)


def told(size, taken):
    """Return the medians and the ratios as a row."""
    medians = {way: statistics.median(seconds) for way, seconds in taken.items()}
    ours = medians[WAYS[0]]
    spans = ", ".join(f"{way} {medians[way]:.1f} s ({min(s):.1f}-{max(s):.1f})" for way, s in taken.items())
    return f"{size} nodes: {spans}; ratios {ours / medians[WAYS[1]]:.2f}, {ours / medians[WAYS[2]]:.2f}"


def plot(results, path):
    """Draw the runs and their medians."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the same measurements make the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ansible", "font.size": 9})
    from matplotlib import pyplot

    sizes = results["nodes"]
    figure, axes = pyplot.subplots(1, len(sizes), figsize=(4.2 * len(sizes), 3.4), layout="constrained", squeeze=False)
    for axis, (size, taken) in zip(axes[0], sizes.items()):
        for place, way in enumerate(WAYS):
            axis.bar(place, statistics.median(taken[way]), width=0.6, color=f"C{place}", alpha=0.5)
            axis.plot([place] * len(taken[way]), taken[way], "o", markersize=3, color=f"C{place}")
        axis.set(title=f"{size} nodes", ylabel="seconds", xticks=range(len(WAYS)), xticklabels=WAYS)
        axis.set_ylim(bottom=0)
        axis.grid(True, axis="y", alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main():
    """Measure, print, keep the figures, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[3, 12], help="sizes of the environment")
    parser.add_argument("--rounds", type=int, default=5, help="of each, after one that does not count")
    parser.add_argument("--results", type=Path, default=HERE / "results.json", help="where the figures are kept")
    parser.add_argument("--plot", type=Path, help="an SVG to draw")
    options = parser.parse_args()
    missing = hosts.lacking()
    if missing:
        raise SystemExit(missing)
    used_versions = {name: metadata.version(name) for name in ("salt", "ansible-core", "mitogen")}
    kernel = subprocess.run(["uname", "-r"], capture_output=True, text=True, check=True).stdout.strip()
    results = {"versions": used_versions, "processors": os.cpu_count(), "kernel": kernel, "nodes": {}, "printed": {}}
    for size in options.nodes:
        results["nodes"][size], results["printed"][size] = measure(size, options.rounds)
        options.results.write_text(json.dumps(results, indent=1) + "\n")
    for size, taken in results["nodes"].items():
        print(told(size, taken))
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
