"""An environment in a lab: a Salt master on the host that has this role, a minion on every host, nothing else yet."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tooling import ToolError, getconsul, getcoredns
from tooling.commands import run

from .environment import MASTER
from .hosts import STATE, Spec, wait_for

# Where hosts see this checkout, what else the master serves, and Python packages: they reach no index.
CHECKOUT, FILES, WHEELS = "/opt/saltdeploy", "/srv/files", "/var/lib/lab/wheels"
STARTUP = "/var/lib/lab/startup"
PIP = f"[global]\nno-index = true\nfind-links = {WHEELS}\n"
COMMANDS = ("salt", "salt-run", "salt-key", "salt-call")
SCRIPTS = Path(sys.executable).parent
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# Seconds: for a minion to answer; for states; until a minion that has not answered is asked whether it still works at
# it: one that has all processors busy may not say so in the few seconds that Salt gives it.
ANSWER, STATES, BUSY = 180, 600, 300
# Salt checks a private key each time that it reads it, forty times for a highstate: that takes six times as long with
# the usual 2048 bits, and fifty times as long with a master's 4096. Nobody else reaches these hosts.
KEYS = {"keysize": 1024}


class Site:
    """An environment's hosts.

    :param lab: the Lab, which this process works on.
    :param machines: what environment.machines() returned.
    :param pillar: path of the pillar root; None: this checkout's.
    :param master_config: settings of the Salt master, further ones or others.
    :param working_copy: a folder that hosts see as ``/srv/<its name>``.
    :param startup: a folder with a ``sitecustomize`` that Salt's daemons import first.
    """

    def __init__(self, lab, repository, machines, pillar=None, master_config=(), working_copy=None, startup=None):
        self.lab, self.repository, self.machines = lab, Path(repository), machines
        self.pillar = Path(pillar) if pillar else self.repository / "pillar"
        self.master_config, self.working_copy, self.startup = dict(master_config), working_copy, startup
        self.files, self.wheels = STATE / "files", STATE / "wheels"
        self.minions = list(machines)

    @property
    def master(self):
        """The master's Host."""
        return self.lab.host(next(n for n, m in self.machines.items() if MASTER in m["roles"]))

    def addresses(self):
        """Return ``{name: address}``."""
        return {name: machine["address"] for name, machine in self.machines.items()}

    def boot(self, extra=()):
        """Make all hosts and boot them side by side.

        :param extra: names of further hosts that the lab was made with, which are no minions.
        """
        for folder in (self.files, self.wheels):
            folder.mkdir(exist_ok=True)
        addresses = self.lab.facts["addresses"]
        for name, machine in self.machines.items():
            self.lab.add(self._spec(name, machine))
        for name in extra:
            self.lab.add(Spec(name, addresses[name], tuple(python())))
        together(lambda host: host.boot(), self.lab.hosts())

    def _spec(self, name, machine):
        master = next(m["address"] for m in self.machines.values() if MASTER in m["roles"])
        files = {"etc/salt/minion": json.dumps(_minion(name, master)), "etc/pip.conf": PIP}
        daemons = ["salt-minion"]
        binds = [*python(), f"{self.wheels}:{WHEELS}"]
        if MASTER in machine["roles"]:
            files["etc/salt/master"] = json.dumps({**_master(), **self.master_config})
            daemons.append("salt-master")
            binds += [f"{self.repository}:{CHECKOUT}", f"{self.pillar}:/srv/pillar", f"{self.files}:{FILES}"]
        if self.working_copy:
            binds.append(f"{self.working_copy}:/srv/{self.working_copy.name}")
        if self.startup:
            binds.append(f"{self.startup}:{STARTUP}")
        first = f"/usr/bin/env PYTHONPATH={STARTUP} " if self.startup else ""
        services = {daemon: f"{first}{SCRIPTS}/{daemon}" for daemon in daemons}
        links = {f"usr/local/bin/{command}": f"{SCRIPTS}/{command}" for command in COMMANDS}
        return Spec(name, machine["address"], tuple(binds), files, services, links)

    def accept(self, names=None):
        """Accept the keys of minions whose fingerprint on their own host is the one that the master was sent."""
        waiting = list(names or self.minions)
        for name in waiting:
            self.master.attempt("salt-key", "--yes", f"--delete={name}")

        def sent():
            keys = json.loads(self.master.run("salt-key", "--out=json", "--print-all")).get("minions_pre", {})
            for name in [n for n in waiting if n in keys]:
                own = self.lab.host(name).run("cat", "/etc/salt/pki/minion/minion.pub")
                if fingerprint(keys[name]) != fingerprint(own):
                    raise ToolError(
                        f"the master was sent another key for {name} than it has: {fingerprint(keys[name])}"
                    )
                self.master.run("salt-key", "--yes", f"--accept={name}")
                waiting.remove(name)
            return not waiting

        wait_for(sent, ANSWER, "the minions to send their keys")
        self.await_minions(names)

    def await_minions(self, names=None):
        """Wait until minions answer."""
        names = list(names or self.minions)

        def answer():
            ping = ("salt", "--out=json", "--static", "--timeout=5", "-L", ",".join(names), "test.ping")
            return self.master.attempt(*ping)[1].count(": true") == len(names)

        wait_for(answer, ANSWER, "the minions to answer")

    def sync(self, names=None):
        """Bring the modules to the master and to minions."""
        if names is None:
            self.master.run("salt-run", "saltutil.sync_all", timeout=STATES)
        self.salt("saltutil.sync_all", names=names)

    def salt(self, *words, names=None):
        """Run ``salt``; return ``{minion: result}``. ToolError if a minion did not answer or failed."""
        names = list(names or self.minions)
        command = ("salt", "--out=json", "--static", f"--timeout={BUSY}", "-L", ",".join(names), *words)
        found = json.loads(self.master.run(*command, timeout=STATES) or "{}")
        silent = sorted(set(names) - set(found))
        if silent:
            raise ToolError(f"salt {' '.join(words)}: no answer from {', '.join(silent)}")
        return found

    def highstate(self, names=None):
        """Run highstate; return ``{minion: {state: result}}``. ToolError names the states that failed."""
        return self.salt("state.apply", names=names)

    def serve_consul(self, version, binaries, say=lambda line: None, live=lambda line: None):
        """Have the master serve Consul: hosts do not reach HashiCorp."""
        binary = getconsul.get(binaries, version, say, live)
        path = self._served("consul", version, "zip")
        # Packed as HashiCorp packs it, but quickly: the master encrypts all of it for each host.
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(binary, "consul")

    def serve_coredns(self, version, binaries, say=lambda line: None, live=lambda line: None):
        """Have the master serve CoreDNS: hosts do not reach GitHub."""
        if version != getcoredns.VERSION:
            raise ToolError(f"skydns:version: {version}: the lab has CoreDNS {getcoredns.VERSION} only")
        path = self._served("coredns", version, "tgz")
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            archive.add(getcoredns.get(binaries, say, live), "coredns")

    def _served(self, program, version, suffix):
        """Return the path under which hosts look for the archive of a program on the master."""
        folder = self.files / program
        folder.mkdir(parents=True, exist_ok=True)
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        return folder / f"{program}_{version}_linux_{architecture}.{suffix}"

    def serve_wheels(self, requirements, cache, live=lambda line: None):
        """Have hosts find Python packages: these requirements, and all that they require.

        :param cache: the folder where they are kept.
        """
        name = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:8]
        kept = Path(cache) / f"wheels-{name}"
        if not kept.is_dir():
            partial = kept.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--dest", partial]
            run([*download, "--progress-bar", "off", *requirements], live)
            partial.rename(kept)
        shutil.copytree(kept, self.wheels, dirs_exist_ok=True)


def python():
    """Return the folders of this Python: its virtualenv's and, unless it is Debian's, which hosts have, its own."""
    folders = {Path(sys.prefix), Path(sys.base_prefix).resolve()} - {Path("/usr")}
    return sorted(map(str, folders))


def fingerprint(key):
    """Return the SHA-256 of a public key (PEM), as ``salt-call key.finger`` prints it.

    ``salt-key --finger`` of Salt 3008 prints another: it takes the lines around the key in.
    """
    body = "".join(f"{line}\n" for line in key.strip().splitlines()[1:-1])
    return ":".join(re.findall("..", hashlib.sha256(body.encode()).hexdigest()))


def together(work, items):
    """Do ``work`` on all items side by side; return the results."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(work, items))


def _master():
    return {
        "id": "salt_master",
        "user": "root",
        "file_roots": {"base": [FILES, f"{CHECKOUT}/salt"]},
        "pillar_roots": {"base": ["/srv/pillar"]},
        "worker_threads": 5,
        "timeout": 15,
        **KEYS,
        "log_granular_levels": {"salt.runner": "error", "salt.minion": "error"},
    }


def _minion(name, master):
    return {
        "id": name,
        "master": master,
        "acceptance_wait_time": 1,
        "random_reauth_delay": 1,
        "recon_default": 100,
        "recon_max": 1000,
        **KEYS,
        # These would ask the network for names, and wait for it.
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
        # Only root may read Salt's own Python here.
        "saltdeploy": {"health_python": "/usr/bin/python3"},
    }
