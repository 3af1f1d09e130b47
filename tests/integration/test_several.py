"""Several apps in one run, on real minions and a real Consul: their order, one verdict, and what a failure leaves."""

from __future__ import annotations

import base64
import json
import re
import signal

import psutil
import pytest
import requests

from tests.support import apps
from tests.support.site import kill, until
from tests.support.target import STRATEGY

# Each app requires the one before it, but for mail.
PORTS = {"db": "24000-24009", "till": "24010-24019", "front": "24020-24029", "mail": "24030-24039"}
REQUIRES = {"till": ["db"], "front": ["till"]}


@pytest.fixture(scope="module")
def site(minions, agents, pillar, cli, folder):
    archives = apps.Archives(folder / "several")
    archives.make("1.0")
    archives.make("1.1")
    archives.make("broken", exit=1)
    archives.make("slow", **{"delay/selftest": 1.5})
    yield Site(agents, pillar, cli, archives)
    for name in PORTS:
        cli.deploy("remove", name, "env=site", "confirm=True")


class Site:
    def __init__(self, agents, pillar, cli, archives):
        self.agents, self.pillar, self.cli, self.archives = agents, pillar, cli, archives

    def define(self, versions=None, requires=None, groups=None, only=PORTS, instances=1):
        """Write the pillar: the apps ``only``, each in version 1.0, but for ``versions``."""
        needs = REQUIRES if requires is None else requires
        defined = {name: self.archives.app(ports=PORTS[name], requires=needs.get(name, [])) for name in only}
        here = {name: {"version": (versions or {}).get(name, "1.0"), "instances": instances} for name in only}
        changes = {
            "apps": here,
            "strategy": {**STRATEGY, "waves": ["100%"], "drain": "1s"},
            **({"groups": groups} if groups else {}),
        }
        self.pillar.write(defined, {"site": apps.environment(self.agents, **changes)})

    def versions(self):
        """Return app -> the versions that clients find."""
        return {
            name: sorted(version for _, _, version in self.agents.passing(name).values())
            for name in PORTS
            if self.agents.passing(name)
        }

    def nodes(self, app):
        """Return the nodes on which clients find ``app``, once for each instance."""
        return sorted(node for node, _ in self.agents.passing(app))

    def start_over(self, *names):
        """Have the apps ``names`` serve 1.0, and the others gone."""
        self.define()
        found = self.versions()
        for name in reversed(PORTS):
            if name not in names and name in found:
                self.cli.result("remove", name, "env=site", "confirm=True")
        if names and found != {name: ["1.0"] for name in names}:
            self.cli.result("app", ",".join([*names, names[0]]), "env=site")
        assert self.versions() == {name: ["1.0"] for name in names}

    def holder(self, app):
        """Return the pid of the process that has the lock of ``app``, None if it is free."""
        found = requests.get(f"{self.agents.url('web1')}/v1/kv/deploy/site/{app}/lock", timeout=10)
        [entry] = found.json() if found.ok else [{}]
        return json.loads(base64.b64decode(entry["Value"]))["process"]["pid"] if "Session" in entry else None

    def await_start(self, app):
        """Wait until ``app`` has a candidate beside the instance that serves."""
        first, last = map(int, PORTS[app].split("-"))

        def starts():
            there = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
            return self.holder(app) and sum(first <= port <= last for port in there) > 1

        until(starts, 60, f"{app} to start")

    def begin(self, first, *others):
        """Start a run for these apps, the first of which is slow. Return it when that one has a candidate."""
        self.start_over(first, *others)
        self.define({first: "slow", **dict.fromkeys(others, "1.1")})
        run = self.cli.start("salt-run", "deploy.app", ",".join([first, *others]), "env=site", "--out=json")
        self.await_start(first)
        return run

    def outcomes(self, result):
        return {run["app"]: run["outcome"] for run in result["runs"]}


def test_all_apps_are_deployed_in_the_order_of_what_they_require(site):
    site.start_over()
    plan = site.cli.result("all", "site", "test=True")
    assert [p["app"] for p in plan["plans"]] == sorted(PORTS) and all(p["plan"] for p in plan["plans"])
    assert site.versions() == {}
    result = site.cli.result("all", "site", "reason=first")
    assert site.outcomes(result) == dict.fromkeys(PORTS, "done")
    assert site.versions() == {name: ["1.0"] for name in PORTS}
    runs = {run["app"]: run for run in result["runs"]}
    ended = {name: run["began"] + run["seconds"] for name, run in runs.items()}
    assert ended["db"] < runs["till"]["began"] and ended["till"] < runs["front"]["began"]
    assert runs["mail"]["began"] < ended["db"], "what requires nothing runs beside the others"
    assert {run["reason"] for run in runs.values()} == {"first"}
    code, output = site.cli.deploy("all", "site")
    assert code == 0 and "all 4 apps were already deployed, nothing was done in site" in output, output


def test_what_requires_a_failed_app_is_not_begun_and_the_others_end(site):
    site.start_over("db", "till", "front", "mail")
    site.define(dict.fromkeys(PORTS, "1.1") | {"till": "broken"})
    code, output = site.cli.deploy("all", "site")
    assert code == 1, output
    assert site.versions() == {"db": ["1.1"], "till": ["1.0"], "front": ["1.0"], "mail": ["1.1"]}
    assert "front was not begun: till, which it requires, was not deployed" in output
    assert re.search(r"in site, \w+, \w+ are as before; \w+, \w+ are deployed", output), output
    assert "till 1.0" not in output and "cannot start: the database is missing" in output


def test_a_mistake_in_any_of_them_keeps_all_of_them_out(site):
    site.start_over("db", "mail")
    site.define(dict.fromkeys(PORTS, "1.1") | {"till": "nowhere", "front": "nowhere"})
    code, output = site.cli.deploy("app", "db,till,front", "env=site")
    assert code == 3 and "till: " in output and "front: " in output, output
    site.define(dict.fromkeys(PORTS, "1.1"), {"db": ["front"], **REQUIRES})
    code, output = site.cli.deploy("all", "site")
    assert code == 3 and "apps:db:requires: goes round in a circle: db > front > till > db." in output, output
    for words, said in (
        (["app", "db,mail", "version=1.1"], "version=: is for one app."),
        (["app", "db,nobody"], "unknown app 'nobody' in environment site"),
        (["app", "db,"], "unknown apps 'db,'"),
        (["all", "site", "group=odd"], "unknown group 'odd' in environment site. Groups there: none."),
        (["all", "site", "parallel=0"], "parallel=0: a whole number from 1 is allowed"),
    ):
        code, output = site.cli.deploy(*words)
        assert code == 3 and said in output, output
    assert site.versions() == {"db": ["1.0"], "mail": ["1.0"]}


def test_a_group_that_fails_in_part_is_taken_back(site):
    site.start_over("db", "mail")
    groups = {"core": {"apps": ["db", "till", "mail"], "together": True}}
    site.define({"db": "1.1", "mail": "1.1", "till": "broken"}, groups=groups)
    result = site.cli.result("all", "site", "group=core", code=1)
    assert site.outcomes(result) == {"db": "taken_back", "mail": "taken_back", "till": "reverted"}
    assert site.versions() == {"db": ["1.0"], "mail": ["1.0"]}
    # An app that was not there before is removed.
    groups = {"core": {"apps": ["front", "mail", "till"], "together": True}}
    site.define({"mail": "1.1", "till": "1.0", "front": "broken"}, groups=groups)
    result = site.cli.result("all", "site", "group=core", code=1)
    assert site.outcomes(result) == {"mail": "taken_back", "till": "taken_back", "front": "reverted"}
    assert site.versions() == {"db": ["1.0"], "mail": ["1.0"]}
    assert "record" not in site.cli.result("status", "till", "env=site")["apps"][0]


@pytest.mark.thorough
def test_a_node_is_evacuated_and_comes_back(site):
    site.start_over()
    site.define(instances=3, only=("mail", "db"))
    site.cli.result("all", "site")
    assert site.nodes("mail") == site.nodes("db") == ["web1", "web2", "web3"]
    plan = site.cli.result("evacuate", "web3", "env=site", "test=True")
    assert [p["app"] for p in plan["plans"]] == ["db", "mail"] and "web3 is to be out of use" in str(plan["plans"])
    assert site.nodes("mail") == ["web1", "web2", "web3"]
    code, output = site.cli.deploy("evacuate", "web3", "env=site", "reason=new disk")
    said = next(line for line in output.splitlines() if "web3 is out of use in site" in line)
    # Apps of other tests may run here without a definition. They are named.
    assert (code == 0 and ", and no app runs there. To bring it back, run salt-run deploy.return web3" in said) or (
        code == 2 and "but these are left there: " in said and "mail_" not in said and "db_" not in said
    ), output
    for app in ("mail", "db"):
        assert len(site.nodes(app)) == 3 and set(site.nodes(app)) == {"web1", "web2"}
    code, output = site.cli.run("salt-run", "environment.status", "site")
    assert code == 1 and "web3: web3 is out of use (root@" in output and "reason: new disk" in output
    # No deployment places anything there.
    site.define({"mail": "1.1"}, instances=3, only=("mail", "db"))
    code, output = site.cli.deploy("app", "mail", "env=site", "nodes=web3")
    assert code == 3 and "nodes: web3 is out of use" in output and "salt-run deploy.return web3 env=site" in output
    site.cli.result("app", "mail", "env=site")
    assert set(site.nodes("mail")) == {"web1", "web2"}
    site.cli.result("return", "web3", "env=site")
    assert site.nodes("mail") == site.nodes("db") == ["web1", "web2", "web3"]
    # Apps of other tests may run here without a definition.
    assert "out of use" not in site.cli.run("salt-run", "environment.status", "site")[1]
    for words, said in (
        (["evacuate"], "which node?"),
        (["evacuate", "web33", "env=site"], "site has no node 'web33' (did you mean `web3`?)"),
        (["return", "web3", "env=site"], "web3 is not evacuated in site"),
    ):
        code, output = site.cli.deploy(*words)
        assert code == 3 and said in output, output


def test_a_second_run_in_the_environment_is_refused_or_waits(site):
    site.start_over("mail")
    site.define({"mail": "slow", "db": "1.0"})
    first = site.cli.start("salt-run", "deploy.app", "mail,db", "env=site", "--out=json")
    until(lambda: "site is being deployed by" in site.cli.deploy("unlock", "env=site")[1], 60, "the lock")
    code, output = site.cli.deploy("all", "site")
    assert code == 3 and "refused, nothing was changed: site is being deployed by " in output, output
    code, output = site.cli.deploy("all", "site", "wait=3m")
    assert code == 0 and "waits for at most 180s: site is being deployed by" in output, output
    assert first.communicate(timeout=60) and first.returncode == 0
    assert site.versions() == {"mail": ["slow"], **{name: ["1.0"] for name in ("db", "till", "front")}}
    assert "site is not locked." in site.cli.deploy("unlock", "env=site")[1]


def test_an_interrupted_run_reverts_what_it_deploys_and_begins_no_more(site):
    run = site.begin("db", "till")
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 1, output
    assert "till was not begun: this run was interrupted" in output and "all is as before" in output, output
    assert site.versions() == {"db": ["1.0"], "till": ["1.0"]}


def test_a_killed_run_ends_what_it_deploys_and_the_next_one_goes_on(site):
    """The processes of the apps outlive the one that began them. The next run waits for them."""
    run = site.begin("db", "till")
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    code, output = site.cli.deploy("app", "db,till", "env=site", "wait=2m")
    assert code == 0, output
    assert site.versions() == {"db": ["slow"], "till": ["1.1"]}


@pytest.mark.thorough
def test_an_app_whose_process_is_killed_needs_a_look(site):
    run = site.begin("db", "till", "mail")
    kill(site.holder("db"))
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 2, output
    assert "the process of db was killed, so nobody knows how far it came. Look now" in output
    assert site.versions()["mail"] == ["1.1"] and site.versions()["till"] == ["1.0"]


@pytest.fixture
def dead(minions, agents):
    """A machine without power: no minion, no agent, no instance. Return a function that switches it on again."""
    daemons, minion = ["consul-web3", "supervisord-web3"], minions["web3"]
    kill(minion.pid)
    agents.daemons.stop(lambda process: process.name in daemons)
    switched_on = []

    def switch_on():
        if not switched_on:
            switched_on.append(True)
            agents.start_supervisord("web3")
            agents.start_agent("web3")
            agents.await_leader()
            minion.terminate()
            minion.start()

    yield switch_on
    switch_on()


def test_a_node_that_is_away_is_left_out_and_gets_its_share_when_it_is_back(site, impatient, request):
    site.start_over()
    site.define(instances=3, only=("mail",))
    site.cli.result("app", "mail", "env=site")
    assert site.nodes("mail") == ["web1", "web2", "web3"]
    switch_on = request.getfixturevalue("dead")
    until(lambda: site.nodes("mail") == ["web1", "web2"], 60, "Consul to miss web3")
    site.define({"mail": "1.1"}, instances=3, only=("mail",))
    code, output = impatient.deploy("app", "mail", "env=site")
    assert code == 3 and "leave it out: nodes=web1,web2 or skip_absent=True" in output
    plan = impatient.result("plan", "mail", "env=site", "skip_absent=True")
    assert "web3 does not answer, and is left out" in plan["plan"]
    result = impatient.result("app", "mail", "env=site", "skip_absent=True")
    assert result["record"]["absent"] == ["web3"] and set(result["record"]["nodes"]) == {"web1", "web2"}
    assert site.versions() == {"mail": ["1.1"] * 3}
    owes = "web3 did not answer when mail 1.1 was deployed, and was left out (skip_absent)."
    assert owes in impatient.deploy("status", "mail", "env=site")[1]
    # Nothing else that is done meanwhile settles it.
    result = impatient.result("scale", "mail", "2", "env=site", "skip_absent=True")
    assert result["record"]["absent"] == ["web3"]
    switch_on()
    assert site.cli.run("salt", "web3", "state.single", "app.deployed", "mail")[0] == 0
    assert "web3" not in site.nodes("mail") and set(site.versions()["mail"]) == {"1.1"}
    assert owes in site.cli.run("salt-run", "environment.status", "site")[1]
    result = site.cli.result("app", "mail", "env=site")
    assert "absent" not in result["record"] and site.nodes("mail") == ["web1", "web2", "web3"]
    assert not site.cli.result("app", "mail", "env=site")["changed"]


def test_what_ran_on_a_removed_node_is_forgotten_only_if_that_is_said(site):
    site.start_over("mail")
    url = f"{site.agents.url('web1')}/v1/kv/deploy/site/mail/current"
    record = json.loads(base64.b64decode(requests.get(url, timeout=10).json()[0]["Value"]))
    record["nodes"]["web9"] = ["mail_1.0_24009"]
    assert requests.put(url, json=record, timeout=10).json()
    code, output = site.cli.deploy("app", "mail", "env=site", "version='1.1'")
    assert code == 3 and "web9 is no node of site any more, and the record of mail has mail_1.0_24009 on web9" in output
    assert "salt-run deploy.evacuate web9 env=site" in output and "env=site forget=True" in output
    assert site.cli.deploy("all", "site")[0] == 3 and site.versions() == {"mail": ["1.0"]}
    plan = site.cli.result("plan", "mail", "env=site", "forget=True")["plan"]
    assert "the record forgets mail_1.0_24009 on web9, which is no node of site any more" in plan
    result = site.cli.result("all", "site", "forget=True")
    assert [(run["app"], run["changed"]) for run in result["runs"] if run["app"] == "mail"] == [("mail", True)]
    assert not site.cli.result("app", "mail", "env=site")["changed"]
