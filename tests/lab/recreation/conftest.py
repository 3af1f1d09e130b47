"""Two environments on real hosts, from one definition: production, and test at a third of its size. All hosts are blank.

A PostgreSQL of Debian is a service of both. The app ``shop`` requires it, and ``front`` requires ``shop``.
"""

from __future__ import annotations

import json

import pytest
from saltdeploy.discovery.consul import Consul

from lab import hosts
from lab.site import Site
from tests.lab.environment.conftest import STRATEGY, LabCli
from tests.support.apps import Archives
from tests.support.forked import STARTUP
from tests.support.hosts import laboratory
from tests.support.site import REPOSITORY, Pillar, last_document
from tooling import getconsul

MASTER = "salt1"
ROLES = {
    "production": {f"prod{number}": ["consul-server", "app"] for number in (1, 2, 3)},
    "test": {"test1": ["consul-server", "app", "db"]},
}
ROLES["production"]["prod1"] += ["db"]
# The states of the site, beside those of the bundle.
TOP = """\
{%- set mine = (pillar.get('environments') or {}).values() | first | default({}, true) %}
base:
  '*':
    - consul
    - dns
    {%- if 'db' in ((mine.get('nodes') or {}).get(opts['id'], {}).get('roles') or []) %}
    - postgres
    {%- endif %}
    - app
"""
POSTGRES = """\
postgresql:
  pkg.installed: []

/etc/postgresql/15/main/conf.d/listens.conf:
  file.managed:
    - contents: listen_addresses = '*'
    - require: [{pkg: postgresql}]

postgresql runs:
  service.running:
    - name: postgresql@15-main
    - watch: [{file: /etc/postgresql/15/main/conf.d/listens.conf}]

postgres:
  discovery.published:
    - port: 5432
    - require: [{service: postgresql runs}, {sls: consul}]
"""


@pytest.fixture(scope="package")
def site(tmp_path_factory):
    """The hosts, blank but for a minion on each, which the master knows."""
    roles = {MASTER: ["master"], **{name: roles for nodes in ROLES.values() for name, roles in nodes.items()}}
    addresses = hosts.free_addresses(list(roles))
    machines = {name: {"address": addresses[name], "roles": roles[name]} for name in roles}
    pillar = tmp_path_factory.mktemp("lab") / "pillar"
    with laboratory(addresses) as lab:
        site = Site(lab, REPOSITORY, machines, pillar, {"timeout": 5, "gather_job_timeout": 8}, startup=STARTUP)
        site.pillar_files = Pillar(pillar, "salt_master")
        site.pillar_files.write({}, {})
        site.serve_consul(getconsul.VERSION, REPOSITORY / ".demo/bin")
        (site.files / "top.sls").write_text(TOP)
        (site.files / "postgres.sls").write_text(POSTGRES)
        site.boot()
        site.accept()
        site.master.run("salt-run", "saltutil.sync_all", timeout=120)
        yield site


class Recreated:
    """Both environments, as their operators have them."""

    def __init__(self, site):
        self.site, self.cli = site, LabCli(site)
        self.archives = Archives(site.files / "artifacts")
        for version in ("1.0", "1.1"):
            self.archives.make(version)

    def define(self, test=None):
        """Write the pillar, with these changes to test."""
        source = {"archive": "salt://artifacts/web-{version}.tar.gz", "sha256": dict(self.archives.digests)}
        ready = {"command": "pg_isready --host={service:postgres}", "timeout": "10s"}
        shop = self.archives.app(source=source, ports="23000-23019", requires=["postgres"], packages=["postgresql"])
        shop["tests"] = [{"http": "/selftest"}, ready]
        front = self.archives.app(source=source, ports="23020-23039", requires=["shop"])
        front["tests"] = [{"http": "/selftest"}]
        for app in (shop, front):
            del app["user"]
        addresses = self.site.lab.facts["addresses"]
        nodes = {
            env: {name: {"address": addresses[name], "roles": roles} for name, roles in some.items()}
            for env, some in ROLES.items()
        }
        production = {
            "nodes": nodes["production"],
            "consul": {"version": getconsul.VERSION, "services": ["postgres"]},
            "apps": {"shop": {"version": "1.0", "instances": 3}, "front": {"version": "1.0", "instances": 3}},
            "strategy": STRATEGY,
        }
        smaller = {"based_on": "production", "scale": 0.34, "nodes": nodes["test"], **(test or {})}
        self.site.pillar_files.write({"shop": shop, "front": front}, {"production": production, "test": smaller})

    def consul(self, env):
        """Return the servers' Consul of an environment, for its management."""
        kept = self.site.master.root / "etc/salt/pki/master/saltdeploy"
        token = json.loads((kept / f"{env}.json").read_text())["tokens"]["management"]
        addresses = self.site.lab.facts["addresses"]
        urls = [f"https://{addresses[node]}:8501" for node in ROLES[env] if "consul-server" in ROLES[env][node]]
        return Consul(urls, token=token, ca=str(kept / f"{env}-ca.pem"))

    def deploy(self, function, *args):
        """Run ``salt-run deploy.<function>``, which must succeed."""
        code, output = self.cli.run("salt-run", f"deploy.{function}", *args, timeout=600)
        assert code == 0, output

    def run(self, function, *args, code=0):
        """Run ``salt-run environment.<function>``, which must exit with ``code``. Return its result as data."""
        found, output = self.cli.run("salt-run", f"environment.{function}", "--out=json", *args, timeout=600)
        assert found == code, output
        return last_document(output)


@pytest.fixture(scope="package")
def recreated(site):
    recreated = Recreated(site)
    recreated.define()
    return recreated
