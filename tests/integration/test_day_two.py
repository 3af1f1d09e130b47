"""Day two: what is done with an app that is deployed. Each verb does its work, and what it refuses changes nothing."""

from __future__ import annotations

import base64
import json

import psutil
import pytest
import requests

from tests.support import apps
from tests.support.target import NAME, PORTS, Target

NODES = ["web1", "web2", "web3"]
# What it prints is for the logs.
RUN = "sh -c 'echo this is release {version}; exec ./bin/serve {address} {port}'"
BROKEN = {"tests": [{"http": {"path": "/", "contains": "release 9"}, "from": "master"}]}


@pytest.fixture(scope="module")
def site(minions, agents, pillar, cli, folder):
    """The app, with nothing of it there and no history."""
    archives = apps.Archives(folder / "day-two")
    for version in ("1.0", "1.1", "1.2", "never"):
        archives.make(version)
    target = Target(agents, pillar, archives, cli)
    define(target)
    if any(releases(target, node) for node in NODES):
        assert cli.deploy("remove", NAME, "confirm=True")[0] == 0
    requests.delete(f"{agents.url('web1')}/v1/kv/deploy/site/{NAME}/?recurse", timeout=10)
    return target


@pytest.fixture(autouse=True)
def defined(site):
    yield
    define(site)


def define(site, app=None, **strategy):
    quick = {"waves": ["100%"], "min_healthy_time": "100ms", "deregister_delay": "100ms", **strategy}
    site.define(app={"run": RUN, **(app or {})}, strategy=quick)


@pytest.fixture
def verb(site):
    """Run a verb on the app, which must end with ``code``; return what it prints."""

    def run(function, *args, code=0):
        found, output = site.cli.deploy(function, NAME, *args)
        assert found == code, output
        return output

    return run


@pytest.fixture
def refused(site, verb):
    """Run a verb that is refused; return what it prints. Nothing is changed."""

    def run(function, *args):
        before = everything(site)
        output = verb(function, *args, code=3)
        assert "refused, nothing was changed: " in output
        assert everything(site) == before
        return output

    return run


def everything(site):
    return site.traces(), processes(site), {n: releases(site, n) for n in NODES}, site.history()


def serves(site, version):
    """Deploy ``version``, unless it is what users have."""
    if site.traces().versions != [version] * 3:
        site.deploy(version)


def releases(site, node):
    found = (site.agents.folder / node / "srv" / NAME / "releases").glob("*")
    return sorted(path.name for path in found if path.is_symlink())


def processes(site):
    """Return ``{(address, port): pid}`` of what listens."""
    first, last = PORTS
    return {
        tuple(c.laddr): c.pid
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.laddr.ip in site.agents.nodes.values() and first <= c.laddr.port <= last
    }


def test_rollback_goes_back_to_the_last_good_release(site, verb, refused):
    assert "is not deployed in site" in refused("rollback")
    site.deploy("1.0")
    site.deploy("1.1")
    # Nobody else's app need be healthy for the way back.
    define(site, {"requires": ["postgres"]})
    output = verb("rollback", "reason=checkout is broken")
    first, *_, last = output.strip().splitlines()
    assert first.strip().startswith("back from shop 1.1 to 1.0, deployed 20")
    assert "shop 1.0 is published in site: 3 instances of 1.0 on web1, web2, web3, rolled back from 1.1" in last
    assert site.traces().versions == ["1.0"] * 3 and site.traces().clean
    newest = site.cli.result("history", NAME, "limit=1")["history"][0]
    assert (newest["verb"], newest["left"], newest["reason"]) == ("rollback", "1.1", "checkout is broken")
    # What was left is not good.
    assert "no good release before 1.0" in refused("rollback")


def test_rollback_to_a_release_that_is_retained(site, verb, refused):
    serves(site, "1.0")
    assert "installed on no node any more. Retained are: 1.1." in refused("rollback", "version=never")
    # Tests apply, unless they are skipped.
    define(site, BROKEN)
    assert "does not contain 'release 9'" in verb("rollback", "version='1.1'", code=1)
    assert site.traces().versions == ["1.0"] * 3
    assert "back from shop 1.0 to 1.1, deployed" in verb("rollback", "version='1.1'", "skip_tests=True")
    assert site.traces().versions == ["1.1"] * 3


def test_scale(site, verb, refused):
    serves(site, "1.1")
    assert "how many of shop? Say instances=, the definition has 3" in refused("scale")
    assert "The definition says 3: so will the next deploy.app" in verb("scale", "instances=1")
    assert site.traces().versions == ["1.1"]
    drift = "the definition differs: it says release 1.0, and 1.1 is deployed; 3 instances, and 1 published"
    assert drift in verb("status")
    assert "users have one instance of shop only" in refused("restart")
    site.deploy("1.0")
    assert site.traces().versions == ["1.0"] * 3


def test_restart_goes_wave_by_wave_and_no_request_fails(site, verb):
    define(site, waves=[1, "100%"], deregister_delay="500ms")
    serves(site, "1.0")
    before = processes(site)
    with site.users() as users:
        assert users.wait_for("1.0", 10)
        output = verb("restart")
    assert users.failures == []
    assert "shop 1.0 was restarted in site: 3 instances of 1.0 on web1, web2, web3" in output
    assert [line.split()[:3] for line in output.splitlines() if "wave" in line] == [
        ["wave", f"{number}:", "restart"] for number in (1, 2, 3)
    ]
    after = processes(site)
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())


def test_restart_stops_where_it_fails_and_says_so(site, verb):
    define(site, waves=[1, 2, "100%"])
    serves(site, "1.0")
    before = processes(site)
    behaviour = site.agents.folder / "web2" / "srv" / NAME / "releases" / "1.0" / "behaviour"
    good = behaviour.read_text()
    behaviour.write_text(f"{good}\nexit=1")
    output = verb("restart", code=2)
    assert "FAILED and stopped there, look now" in output
    assert "web3 not restarted; restart on web2: shop_1.0_" in output
    web3 = site.agents.nodes["web3"]
    assert [pid for (ip, _), pid in processes(site).items() if ip == web3] == [
        pid for (ip, _), pid in before.items() if ip == web3
    ]
    assert {node for node, _ in site.traces().published} == {"web1", "web3"}
    behaviour.write_text(good)


def test_releases_beyond_what_is_kept_are_removed(site, verb):
    assert {"1.0", "1.1"} <= set(releases(site, "web1"))
    define(site, keep_releases=1)
    # In place of 1.0, of which the last test has left two.
    assert "prune" in site.deploy("1.2")
    # What runs, and what a rollback goes to, stay.
    assert [releases(site, n) for n in NODES] == [["1.0", "1.2"]] * 3
    verb("rollback")
    assert site.traces().versions == ["1.0"] * 3
    assert "removed 1.2 on web1, 1.2 on web2, 1.2 on web3" in verb("prune")
    assert [releases(site, n) for n in NODES] == [["1.0"]] * 3
    assert site.traces().versions == ["1.0"] * 3


def test_logs_of_all_nodes_or_of_some(site, verb, refused):
    serves(site, "1.0")
    found = site.cli.result("logs", NAME)["logs"]
    assert {(n, i, text) for n, some in found.items() for i, text in some.items()} == {
        (node, i, "this is release 1.0") for node, i in site.traces().published
    }
    instance = next(i for node, i in site.traces().published if node == "web2")
    output = verb("logs", "nodes=web2", f"instance={instance}", "lines=5")
    assert output.splitlines() == [f"web2: {instance}", "  this is release 1.0"]
    assert "supervisord does not keep when a line was printed" in refused("logs", "since=10m")
    assert "no instance shop_9_1 of shop is on web1, web2, web3" in refused("logs", "instance=shop_9_1")


def test_exec(site, verb, refused):
    serves(site, "1.0")
    (node, instance), (address, port, _) = min(site.traces().published.items())
    output = verb("exec", "sh -c 'cat behaviour; echo; echo $ADDRESS:$PORT'")
    assert output.splitlines()[:2] == ["version=1.0", f"{address}:{port}"]
    assert f"ended with 0, as {instance} on {node}" in output
    assert "ended with 3, as shop_" in verb("exec", "sh -c 'exit 3'", "node=web3", code=1)
    assert "hangs: killed after 1s" in verb("exec", "sleep 60", "timeout=1", code=1)
    assert "no instance of shop shop_9_1. There are: shop_1.0_" in refused("exec", "ls", "instance=shop_9_1")
    assert "which command?" in refused("exec", "")


def test_shown_only_nothing_is_done(site, verb):
    serves(site, "1.0")
    before = everything(site)
    assert "shop 1.2 can be deployed in site" in verb("check", "version='1.2'")
    assert "wave 1: restart shop_1.0_" in verb("restart", "test=True")
    assert "forget the record: 3 instances" in verb("remove", "test=True")
    assert everything(site) == before


def test_a_state_that_fails_leaves_no_more_each_time(site):
    """…of an app without a port, which would give it another one each time."""
    name, run, test = "clock", "sh -c 'echo no database; exec sleep 600'", "test -e {instance}/database"
    app = {**site.archives.app(run=run, tests=[{"command": test}]), "ports": None, "checks": None}
    environment = apps.environment(site.agents, apps={name: {"version": "1.0", "instances": 1}})
    folder = site.agents.folder / "web1" / "srv" / name

    def state(function, *args, code=1):
        found, output = site.cli.run("salt", "web1", "state.single", f"app.{function}", name, *args)
        assert found == code, output
        return output

    def there():
        """Return what runs in the release, and the folders of instances."""
        found = [p.pid for p in psutil.process_iter(["cwd"]) if (p.info["cwd"] or "").startswith(str(folder))]
        return found, list(folder.glob("instances/*"))

    def write(**changes):
        known = {key: value for key, value in {**app, **changes}.items() if value is not None}
        site.pillar.write({name: known}, {"site": environment})

    write()
    state("installed", "version='1.0'", code=0)
    for _ in range(2):
        output = state("running", "version='1.0'")
        assert f"test `command {test}` failed" in output and "its last lines:" in output and "no database" in output
        assert there() == ([], [])
    write(tests=[{"command": "true"}])
    assert "1 of clock 1.0 started" in state("running", "version='1.0'", code=0)
    there_now = there()
    assert [len(some) for some in there_now] == [1, 1]
    assert "1 of clock 1.0 run" in state("running", "version='1.0'", code=0)
    assert there() == there_now
    state("absent", code=0)
    assert there() == ([], [])


def test_while_somebody_deploys_all_is_refused(site, refused):
    url = f"{site.agents.url('web1')}/v1"
    session = requests.put(f"{url}/session/create", json={"TTL": "30s"}, timeout=10).json()["ID"]
    holder = {"app": NAME, "environment": "site", "owner": "ann@salt", "deployment": "d1"}
    lock = f"{url}/kv/deploy/site/{NAME}/lock"
    assert requests.put(f"{lock}?acquire={session}", json=holder, timeout=10).json()
    try:
        for words in (["check"], ["rollback"], ["remove", "confirm=True"]):
            assert "shop is being deployed in site by ann@salt" in refused(*words)
    finally:
        requests.put(f"{lock}?release={session}", timeout=10)


def test_history_is_bounded(site, verb):
    serves(site, "1.0")
    entry = {"verb": "deploy", "version": "1.1", "retcode": 1, "record": None, "owner": "", "reason": "", "why": ""}
    entry.update(began=0, seconds=0)
    value = base64.b64encode(json.dumps(entry).encode()).decode()
    keys = [f"deploy/site/{NAME}/history/20000101-000000-{n:04}" for n in range(60)]
    sets = [{"KV": {"Verb": "set", "Key": key, "Value": value}} for key in keys]
    requests.put(f"{site.agents.url('web1')}/v1/txn", json=sets, timeout=10).raise_for_status()
    before = site.history()
    verb("restart")
    after = site.history()
    assert len(before) > 60 and len(after) == 50
    # The newest are those that Consul has last, whatever time their ids say.
    assert after[:-1] == sorted(keys)[-49:] and after[-1] not in before


def test_a_node_that_was_removed_while_it_runs_instances(site, verb, refused):
    serves(site, "1.0")
    addresses = {node: {"address": address} for node, address in site.agents.nodes.items()}
    two, apps_of = {n: addresses[n] for n in ("web1", "web2")}, {NAME: {"version": "1.0", "instances": 2}}
    quick = {"waves": ["100%"], "min_healthy_time": "100ms", "deregister_delay": "100ms"}

    def of(nodes):
        site.define(app={"run": RUN}, strategy=quick, nodes=nodes, apps=apps_of)

    of(two)
    for output in (refused("app"), refused("check")):
        assert "on web3, and web3 is no node of site" in output
        assert f"web3: {{address: {addresses['web3']['address']}, roles: [leaving]}}" in output
    assert "published, on no node of site" in verb("status")
    of({**two, "web3": {**addresses["web3"], "roles": ["leaving"]}})
    assert "2 instances of 1.0 on web1, web2" in verb("app")
    of(two)
    assert "was already published, nothing was done" in verb("app") and set(site.traces().record["nodes"]) == set(two)


def test_a_node_that_comes_back_with_an_old_release(site, verb):
    """…is cleaned up by highstate, as others serve."""
    serves(site, "1.0")
    # As if the others had been deployed without it.
    site.deploy("1.1", "nodes=web1,web2", "instances=2")
    [old] = [i for node, i in site.traces().published if node == "web3"]
    record = site.traces().record
    record["nodes"].pop("web3", None)
    url = f"{site.agents.url('web1')}/v1/kv/deploy/site/{NAME}/current"
    assert requests.put(url, json=record, timeout=10).json()
    assert "published, not in the record" in verb("status")

    def highstate(*args):
        code, output = site.cli.run("salt", "web3", "state.single", "app.deployed", NAME, *args)
        assert code == 0, output
        return output

    assert f"Would retire {old}" in highstate("test=True") and len(site.traces().published) == 3
    assert f"{old} retired" in highstate()
    traces = site.traces()
    assert {node for node, _ in traces.published} == {"web1", "web2"} and traces.clean
    assert "no instance of shop on this node" in highstate()


def test_an_instance_that_somebody_registered_by_hand(site):
    serves(site, "1.0")
    [(port, one)] = [(port, i) for (node, i), (_, port, _) in site.traces().published.items() if node == "web2"]
    body = {"ID": one, "Name": NAME, "Address": site.agents.nodes["web2"], "Port": port}
    requests.put(f"{site.agents.url('web2')}/v1/agent/service/register", json=body, timeout=10).raise_for_status()
    site.deploy("1.1")
    assert site.traces().versions == ["1.1"] * 3 and site.traces().clean


def test_an_app_that_nobody_defines_any_more(site, verb, refused):
    """…is shown and removed, and leaves nothing but its history."""
    serves(site, "1.0")
    site.deploy("1.2", "publish=False", "instances=1", "nodes=web1")
    output = refused("remove")
    assert "say confirm=True to withdraw, drain and stop shop_1.0_" in output
    assert "remove the releases 1.0 on web1" in output
    entries = site.history()
    site.define(apps={})
    assert "unknown app 'shop'" in refused("app")
    code, output = site.cli.run("salt-run", "deploy.status")
    assert code == 0 and "shop runs, and is not in site: add it" in output and "salt-run deploy.remove shop" in output
    assert "shop is removed from site. Its history stays" in verb("remove", "confirm=True")
    traces = site.traces()
    assert (traces.published, traces.candidates, traces.listening, traces.folders) == ({}, set(), set(), set())
    assert traces.record is None and not traces.locked
    assert [releases(site, n) for n in NODES] == [[]] * 3
    assert set(site.history()) > set(entries[1:])
    assert "unknown app 'shop'" in refused("remove", "confirm=True") and "remove" in verb("history")
    define(site)
    assert "shop is not deployed in site" in verb("status")


def test_mistakes_of_another_app_stand_in_nobodys_way(site, verb):
    """Also on the nodes: its file cannot be rendered, it is wrong, and its environment's file is no YAML."""
    serves(site, "1.0")
    files = {
        "apps/cart.sls": "apps: {cart: {run: {{ nix }}, env: {PASSWORD: geheim}}}",
        "apps/mail.sls": "apps: {mail: {prots: 80, env: {PASSWORD: [geheim]}}}",
        "environments/other.sls": "environments: {other: [",
    }
    site.define(app={"run": RUN}, apps={NAME: {"version": "1.1", "instances": 3}, "cart": {}, "mail": {}})
    try:
        for name, text in files.items():
            (site.pillar.folder / name).write_text(text)
        # Without env= it might be the other one.
        code, said = site.cli.deploy("app", NAME)
        assert code == 3 and "which environment? Say env=NAME, one of: site. Left out is" in said
        assert "Left out is environments/other.sls: is not YAML: line 2" in said
        output = verb("app", "version='1.1'", "env=site")
        assert site.traces().versions == ["1.1"] * 3
        for words in ("apps/cart.sls (line 1: Jinja variable 'nix' is", "mail (apps:mail:source: is missing"):
            assert words in output and "environments/other.sls (is not YAML: line 2" in output
        verb("check", "version='1.1'", "env=site")
        verb("rollback", "env=site")
        assert site.traces().versions == ["1.0"] * 3
        output += "".join(verb(function, "env=site") for function in ("status", "logs", "history"))
        # Of the app itself all is told, and what needs no definition works.
        code, said = site.cli.deploy("app", "mail", "env=site")
        assert code == 3
        for words in ("apps:mail:prots: unknown key (did you mean `ports`?)", "mail:env:PASSWORD: found a list. Write"):
            assert words in said
        for function in ("history", "unlock", "status"):
            code, more = site.cli.deploy(function, "mail", "env=site")
            assert code == 0, more
            said += more
        assert "geheim" not in output + said
    finally:
        for name in files:
            (site.pillar.folder / name).unlink()


def test_files_that_a_definition_names_are_looked_for(site, verb, refused):
    """By ``check`` and by a deployment, before anything is changed; all of them at once."""
    serves(site, "1.0")
    (site.pillar.folder.parent / "tree/day-two.ini").write_text("one\n{{ nix }}\n")
    config = {"etc/a": "salt://nowhere.ini", "etc/b": "salt://day-two.ini"}
    define(site, {"states": ["nowhere.at_all"], "config": config})
    for function in ("check", "app"):
        output = refused(function, "version='1.1'")
        assert "apps:shop:states: nowhere.at_all is not on the master" in output
        assert "apps:shop:config:etc/a: salt://nowhere.ini: is not on the master" in output
        assert "apps:shop:config:etc/b: salt://day-two.ini: line 2: Jinja variable 'nix' is undefined" in output


def test_the_whole_environment_is_shown_at_once(site):
    def status(code):
        # Apps of other tests may have left a record.
        found, output = site.cli.run("salt-run", "environment.status")
        assert found in (code, 1), output
        return output

    serves(site, "1.0")
    output = status(0)
    # Names of other apps decide how wide the columns are.
    assert ["shop", "1.0", "3", "of", "3", "3"] in [line.split() for line in output.splitlines()]
    assert "\nshop: " not in output
    assert [line.split()[1] for line in output.splitlines() if line.startswith("  web")] == ["yes"] * 3
    site.define({"env": {"LEVEL": "debug"}})
    output = status(1)
    assert "shop: instances on web1, web2, web3 are not as defined" in output and "site is NOT as defined" in output
    site.define()


@pytest.mark.thorough
def test_a_run_waits_for_another_if_it_is_told_to(site):
    serves(site, "1.0")
    first = site.start("1.1").until("wave 1")
    code, output = site.cli.deploy("app", NAME, "version='1.0'")
    assert code == 3 and f"{NAME} is being deployed in site" in output
    output = site.deploy("1.0", "wait=2m")
    assert f"waits for at most 120s: {NAME} is being deployed in site" in output
    assert f"{NAME} 1.0 is published in site: 3 instances" in output
    assert f"{NAME} 1.1 is published in site" in first.end(0)
    code, output = site.cli.deploy("app", NAME, "wait=soon")
    assert code == 3 and "wait='soon'" in output


def test_two_environments_are_compared_on_their_nodes(site):
    about = {node: {"address": address} for node, address in site.agents.nodes.items()}
    first, second = ({n: a for n, a in about.items() if (n == "web3") == last} for last in (False, True))
    try:
        site.pillar.write({}, {"site": {"nodes": first}, "other": {"nodes": second, "strategy": {"drain": "7s"}}})
        code, output = site.cli.run("salt-run", "environment.diff", "site", "other")
        # All minions are of this machine.
        assert code == 1 and output.splitlines()[-1] == "site and other differ in 1 thing", output
        assert "strategy:drain        7s" in output
        code, output = site.cli.run("salt-run", "environment.inventory", "other")
        assert code == 0 and json.loads(output)["other"] == {"hosts": ["web3"]}
    finally:
        site.define()
