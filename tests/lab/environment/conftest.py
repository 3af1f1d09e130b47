"""An environment on real hosts: a master, three Consul servers that run apps, a load balancer; and a client.

Booted once for all of these tests. Each leaves it serving.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time

import pytest
import yaml
from saltdeploy.core.errors import Failed
from saltdeploy.discovery.consul import Consul

from lab import hosts
from lab.site import Site
from tests.support.apps import Archives
from tests.support.forked import STARTUP
from tests.support.hosts import laboratory
from tests.support.site import REPOSITORY, Cli, Pillar, until
from tests.support.target import Run
from tooling import getconsul

MASTER, BALANCER, CLIENT, STRANGER = "salt1", "lb1", "client", "other1"
WEBS = ("web1", "web2", "web3")
NAME, PORT, HTTPBIN = "shop", 8080, 80
ROLES = {
    MASTER: ["master"],
    **{web: ["consul-server", "app"] for web in WEBS},
    BALANCER: ["loadbalancer"],
}
STRATEGY = {
    "waves": [1, "100%"],
    "min_healthy_time": "2s",
    "healthy_deadline": "30s",
    "progress_deadline": "120s",
    "drain": "4s",
    # HAProxy asks once a second which instances there are.
    "deregister_delay": "2500ms",
}
REQUIREMENTS = ["gunicorn==23.0.0", "flask==2.3.3", "werkzeug==2.3.8", "setuptools", "wheel"]


class LabCli(Cli):
    """Salt's commands on the master's host."""

    def __init__(self, site):
        self.site = site

    def start(self, command, *args, **kwargs):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True, **kwargs}
        return self.site.master.popen(command, *args, **options)


class Environment:
    """The environment as its operators and its users have it."""

    def __init__(self, site, pillar, archives):
        self.site, self.pillar, self.archives = site, pillar, archives
        self.lab, self.cli, self.version = site.lab, LabCli(site), getconsul.VERSION

    def host(self, name):
        return self.lab.host(name)

    def define(self, app=None, strategy=None, httpbin=None, **changes):
        """Write the pillar, with these changes to the apps, the strategy, the environment."""
        source = {"archive": "salt://artifacts/web-{version}.tar.gz", "sha256": dict(self.archives.digests)}
        shop = self.archives.app(source=source, ports="23000-23019", frontend={"port": PORT}, **(app or {}))
        del shop["user"]
        repository = yaml.safe_load((REPOSITORY / "pillar/apps/httpbin.sls").read_text())["apps"]
        httpbin = {**repository["httpbin"], "packages": ["python3-venv"], **(httpbin or {})}
        addresses = self.lab.facts["addresses"]
        here = {
            "nodes": {n: {"address": addresses[n], "roles": roles} for n, roles in ROLES.items()},
            "consul": {"version": getconsul.VERSION},
            "apps": {
                NAME: {"version": "1.0", "instances": 3},
                "httpbin": {"version": "0.10.1", "instances": 3, "frontend": {"port": HTTPBIN}},
            },
            "strategy": {**STRATEGY, **(strategy or {})},
            **changes,
        }
        self.definition = here
        strangers = {STRANGER: {"address": addresses[STRANGER]}, "other2": {"address": "10.0.0.2"}}
        other = {"nodes": strangers, "apps": {NAME: {"env": {"SECRET": "other's"}}}}
        self.pillar.write({NAME: shop, "httpbin": httpbin}, {"site": here, "other": other})

    def deploy(self, app, version, *args, code=0):
        """Run ``deploy.app``, which must exit with ``code``; return its output."""
        found, output = self.cli.deploy("app", app, "env=site", f"version='{version}'", *args)
        assert found == code, output
        return output

    def start(self, app, version, *args):
        """Start ``deploy.app``; return the Run."""
        return Run(self.cli.start("salt-run", "deploy.app", app, "env=site", f"version='{version}'", *args))

    def highstate(self, *names):
        """Run highstate; return ``{minion: {id: changes}}`` of what was changed. All states must be good."""
        found = self.site.highstate(names or None)
        bad = {n: [s["comment"] for s in states.values() if not s["result"]] for n, states in found.items()}
        assert not any(bad.values()), bad
        return {
            node: {s["__id__"]: s["changes"] for s in states.values() if s["changes"]} for node, states in found.items()
        }

    @property
    def secrets_file(self):
        """Where the master keeps the secrets of this environment's Consul."""
        return self.site.master.root / "etc/salt/pki/master/saltdeploy/site.json"

    @property
    def secrets(self):
        """What the master keeps of this environment's Consul."""
        return json.loads(self.secrets_file.read_text())

    def consul(self, token="management"):
        """Return the servers' Consul, as the master reaches it."""
        addresses = self.lab.facts["addresses"]
        return Consul(
            [f"https://{addresses[name]}:8501" for name in WEBS],
            token=self.secrets["tokens"].get(token, token),
            ca=str(self.site.master.root / "etc/salt/pki/master/saltdeploy/site-ca.pem"),
        )

    def published(self, app=NAME):
        """Return ``{(node, instance id): version}`` of what is found healthy."""
        with self.consul() as consul:
            return {(e.minion, e.id): e.meta["version"] for e in consul.instances(app, passing=True)}

    def versions(self, app=NAME):
        return sorted(self.published(app).values())

    def settle(self, *versions):
        """Have all hosts up, answering, and serving one of these versions of shop (1.0, if none is named); return it."""
        versions = versions or ("1.0",)
        down = [host for host in self.lab.hosts() if not host.runs()]
        for host in down:
            host.boot()
        for host in self.lab.hosts():
            host.heal()
        if down:
            self.site.await_minions()
        until(lambda: self.members() == len(ROLES), 60, "all Consul agents to be alive")
        self.define()
        found = self.versions()
        if found not in [[version] * 3 for version in versions]:
            self.deploy(NAME, versions[0])
            return versions[0]
        return found[0]

    def members(self):
        """Return how many agents are alive."""
        with self.consul() as consul, contextlib.suppress(Failed):  # while a server comes up
            return sum(member["Status"] == 1 for member in consul.get("/v1/agent/members"))
        return 0


class Watch:
    """Looks, all the time, at what is published: never fewer than ``least``, never what was not tested.

    :param allowed: the versions that may be seen.
    """

    def __init__(self, environment, least, allowed):
        self.environment, self.least, self.allowed = environment, least, set(allowed)
        self.looks, self.wrong = 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()

    def _run(self):
        with self.environment.consul() as consul:
            while not self._stop.is_set():
                try:
                    found = [e.meta["version"] for e in consul.instances(NAME, passing=True)]
                except Exception as exc:  # no leader: nobody can say, and users keep what they were told last
                    found = None
                    self.silent = exc
                if found is not None:
                    self.looks += 1
                    if len(found) < self.least or not set(found) <= self.allowed:
                        self.wrong.append((time.monotonic(), sorted(found)))
                time.sleep(0.2)


def main_pid(host, service):
    """Return the process id, in the host, of a service."""
    return host.run("systemctl", "show", service, "--property=MainPID", "--value").strip()


@pytest.fixture(scope="package")
def site(tmp_path_factory):
    """The hosts, blank but for a minion on each, which the master knows."""
    addresses = hosts.free_addresses([*ROLES, STRANGER, CLIENT])
    machines = {name: {"address": addresses[name], "roles": ROLES.get(name, [])} for name in [*ROLES, STRANGER]}
    pillar = tmp_path_factory.mktemp("lab") / "pillar"
    with laboratory(addresses) as lab:
        patience = {"timeout": 5, "gather_job_timeout": 8}
        site = Site(lab, REPOSITORY, machines, pillar, patience, startup=STARTUP)
        site.pillar_files = Pillar(pillar, "salt_master")
        site.pillar_files.write({}, {})
        site.serve_consul(getconsul.VERSION, REPOSITORY / ".demo/bin")
        for version in ("0.10.1", "0.10.2"):
            requirements = [f"httpbin=={version}", *REQUIREMENTS]
            site.wheels.mkdir(exist_ok=True)
            site.serve_wheels(requirements, REPOSITORY / ".lab")
        site.boot(extra=[CLIENT])
        site.accept()
        yield site


@pytest.fixture(scope="package")
def environment(site):
    """The environment as pillar describes it, its hosts still blank."""
    archives = Archives(site.files / "artifacts")
    for version in ("1.0", "1.1"):
        archives.make(version)
    archives.make("bad", **{"status/selftest": 500})
    archives.make("slow", **{"delay/selftest": 1})
    environment = Environment(site, site.pillar_files, archives)
    environment.define()
    site.sync()
    site.salt("saltutil.refresh_pillar", "wait=True")
    return environment


@pytest.fixture(scope="package")
def first_highstate(environment):
    """What the first highstate changed, and how long it took."""
    began = time.monotonic()
    changed = environment.highstate(*ROLES)
    return changed, time.monotonic() - began


@pytest.fixture(scope="package")
def serving(environment, first_highstate):
    """The environment, with both apps published."""
    environment.deploy(NAME, "1.0")
    environment.deploy("httpbin", "0.10.1")
    environment.host(CLIENT).run("apt-get", "update")
    return environment
