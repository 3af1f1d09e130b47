"""The main job: from pillar to published with one command, and all that goes with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from tests.support import apps
from tests.support.site import last_document, until

NODES = ("web1", "web2", "web3")


@pytest.fixture(scope="module")
def define(pillar, archives, agents):
    """Write the pillar: the app ``web`` with changes to it, and to its environment."""

    def write(app=None, **changes):
        pillar.write({"web": archives.app(**(app or {}))}, {"site": apps.environment(agents, **changes)})

    for version in ("1.0", "1.1", "1.2"):
        archives.make(version)
    write()
    return write


@pytest.fixture(autouse=True)
def defined(define):
    yield
    define()


@pytest.fixture(scope="module")
def deploy(minions, cli):
    """Run ``salt-run deploy.<function>``, which must end well; return its output."""

    def run(function, *args, code=0):
        found, output = cli.deploy(function, *args)
        assert found == code, output
        return output

    return run


@pytest.fixture
def salt(minions, cli):
    """Run ``salt``, which must end well; return ``{minion: result}``."""

    def run(target, *args, code=0):
        found, output = cli.run("salt", "--out=json", "--static", target, *args)
        assert found == code, output
        return json.loads(output)

    return run


def data(deploy, function, *args, code=0):
    """Run a function with ``--out=json``; return its result."""
    return last_document(deploy(function, "--out=json", *args, code=code))


def versions(agents, service="web"):
    return sorted(version for _, _, version in agents.passing(service).values())


def rows(deploy):
    """Return what ``deploy.status`` has of the app: ``{(node, release, state)}``."""
    status = data(deploy, "status", "web")
    return {(i["node"], i["version"], i["state"]) for i in status["apps"][0]["instances"]}


@pytest.mark.main_path
def test_a_release_goes_from_pillar_to_published(deploy, agents):
    output = deploy("app", "web", "reason=first")
    assert (
        output.rstrip()
        .splitlines()[-1]
        .startswith("web 1.0 is published in site: 3 instances of 1.0 on web1, web2, web3")
    )
    for phase in ("install", "start"):
        steps = [line.split()[1] for line in output.splitlines() if line.startswith(phase) and "…" not in line]
        assert sorted(steps) == [f"{node}:" for node in NODES]
    assert "test     master:" in output and "publish  web2:" in output
    with agents.backend() as backend:
        found = backend.instances("web", passing=True)
    assert {endpoint.address for endpoint in found} == set(agents.nodes.values())
    for endpoint in found:
        answer = requests.get(f"http://{endpoint.address}:{endpoint.port}/", timeout=10)
        assert answer.text == "release 1.0"
        assert endpoint.tags == ("site", "1.0")
        assert endpoint.meta["environment"] == "site"
    assert agents.passing("web-candidate") == {}
    assert agents.addresses("web") == set(agents.nodes.values())


@pytest.mark.main_path
def test_the_next_release_comes_beside_it_and_no_request_fails(deploy, agents, define):
    define(waves=[1, "100%"])
    deploy("app", "web")
    with agents.clients("web", "/") as clients:
        assert clients.wait_for("1.0", 10)
        deploy("app", "web", "version='1.1'")
        assert clients.wait_for("1.1", 10)
    assert clients.failures == []
    assert versions(agents) == ["1.1"] * 3
    assert rows(deploy) == {(node, "1.1", "published") for node in NODES}


def test_the_same_again_changes_nothing(deploy, agents):
    deploy("app", "web", "version='1.1'")
    before = agents.passing("web")
    assert "already published, nothing was done" in deploy("app", "web", "version='1.1'")
    assert agents.passing("web") == before


def test_a_record_that_is_lost_is_written_again(deploy, agents):
    deploy("app", "web", "version='1.1'")
    before = rows(deploy)
    with agents.backend() as backend:
        assert backend.write({}, delete=["deploy/site/web/current"])
    assert {state for _, _, state in rows(deploy)} == {"published"}
    assert "published, not in the record" in deploy("status", "web")
    deploy("app", "web", "version='1.1'")
    assert rows(deploy) == before


@pytest.mark.thorough
def test_what_somebody_stopped_is_not_in_the_next_record(deploy, salt):
    deploy("app", "web", "version='1.1'")
    salt("*", "app.stop", "web", "drain=0")
    deploy("app", "web", "version='1.0'")
    assert rows(deploy) == {(node, "1.0", "published") for node in NODES}


def test_what_does_not_run_is_not_published(deploy, agents, salt):
    deploy("app", "web", "version='1.1'")
    deploy("app", "web", "version='1.2'", "instances=1", "nodes=web3", "publish=False")
    [candidate] = [i for _, i in agents.passing("web-candidate")]
    instance = candidate.removesuffix("_candidate")
    program = f"app-{instance}"
    supervisor = agents.folder / "web3" / "supervisord.conf"
    control = [sys.executable, "-m", "supervisor.supervisorctl", "-c", supervisor]
    subprocess.run([*control, "stop", program], check=True)
    assert f"{instance} on web3 does not run" in salt("web3", "discovery.publish", "web", f"[{instance}]")["web3"]
    assert versions(agents) == ["1.1"] * 3


def test_a_plan_is_what_would_be_done_and_does_nothing(deploy, agents, define):
    define(waves=[1, "100%"])
    deploy("app", "web", "version='1.1'")
    before = agents.passing("web")
    plan = data(deploy, "plan", "web", "version='1.2'")
    assert plan == data(deploy, "app", "web", "version='1.2'", "test=True")
    assert "wave 1: start, test and publish 1 on web1" in plan["plan"]
    actions = plan["actions"]
    assert (actions["from"], actions["to"]) == (["1.1"], "1.2") and set(actions["install"]) <= {"web1", "web2", "web3"}
    assert actions["waves"][0]["start"] == {"web1": 1} and list(actions["waves"][0]["retire"]) == ["web1"]
    assert agents.passing("web") == before
    done = data(deploy, "app", "web", "version='1.2'")
    assert done["plan"] == plan["plan"]
    assert {step["phase"] for step in done["steps"]} == {"install", "start", "test", "publish", "healthy", "retire"}


@pytest.mark.main_path
def test_acceptance_by_hand(deploy, agents):
    deploy("app", "web")
    output = deploy("app", "web", "version='1.2'", "publish=False")
    assert "as 3 candidates" in output
    assert versions(agents) == ["1.0"] * 3
    assert versions(agents, "web-candidate") == ["1.2"] * 3
    assert "web: 3 tests passed on" in deploy("test", "web")
    deploy("publish", "web")
    assert versions(agents) == ["1.2"] * 3
    assert versions(agents, "web-candidate") == []
    assert "no candidate of web" in deploy("publish", "web", code=3)


def test_candidates_that_do_not_pass_are_not_published(deploy, agents, archives, define):
    deploy("app", "web")
    deploy("app", "web", "version='1.1'", "publish=False")
    define({"tests": [{"http": {"path": "/", "contains": "release 9"}, "from": "master"}]})
    assert "does not contain 'release 9'" in deploy("test", "web", code=1)
    assert "does not contain 'release 9'" in deploy("publish", "web", code=1)
    assert versions(agents) == ["1.0"] * 3
    assert versions(agents, "web-candidate") == ["1.1"] * 3


@pytest.mark.main_path
def test_withdraw_takes_from_users_and_publish_gives_back(deploy, agents):
    deploy("app", "web")
    assert "confirm=True" in deploy("withdraw", "web", code=3)
    deploy("withdraw", "web", "nodes=web1")
    assert len(agents.passing("web")) == 2
    assert ("web1", "1.0", "candidate") in rows(deploy)
    deploy("publish", "web")
    assert len(agents.passing("web")) == 3


@pytest.mark.thorough
def test_fewer_instances_some_nodes_and_keeping_the_old(deploy, agents):
    deploy("app", "web")
    deploy("app", "web", "version='1.1'", "instances=1", "nodes=web3", "keep=True")
    assert versions(agents) == ["1.0"] * 3 + ["1.1"]
    assert ("web3", "1.1", "published") in rows(deploy)
    deploy("app", "web", "version='1.1'", "instances=2")
    assert versions(agents) == ["1.1"] * 2
    deploy("app", "web", "version='1.1'", "instances=4")
    assert versions(agents) == ["1.1"] * 4


def test_history_tells_who_what_and_why(deploy):
    deploy("app", "web", "version='1.1'")
    deploy("app", "web", "reason=back to the roots")
    newest = data(deploy, "history", "web", "limit=1")["history"]
    assert len(newest) == 1
    assert newest[0]["reason"] == "back to the roots"
    assert (newest[0]["version"], newest[0]["retcode"]) == ("1.0", 0)
    assert sum(step["seconds"] for step in newest[0]["steps"]) > 0
    assert "back to the roots" in deploy("history", "web")


# The key of the app's state among the results of highstate.
OF_WEB = "app_|-saltdeploy app web_|-web_|-deployed"


@pytest.mark.main_path
def test_highstate_restores_what_the_record_says_and_nothing_else(deploy, agents, salt):
    deploy("app", "web", "version='1.1'")
    before = agents.passing("web")
    state = salt("web2", "state.apply")["web2"][OF_WEB]
    assert (state["result"], state["changes"]) == (True, {})

    # A rebuilt node: nothing of it is left, and its agent has forgotten it too.
    [instance] = [i for node, i in before if node == "web2"]
    salt("web2", "app.stop", "web", "drain=0")
    shutil.rmtree(Path(agents.settings("web2")["root"]) / "web")
    assert ("web2", "1.1", "lost") in rows(deploy)
    state = salt("web2", "state.apply", "test=True")["web2"][OF_WEB]
    assert state["result"] is None and state["comment"] == f"Would restore {instance}"
    assert len(agents.passing("web")) == 2
    state = salt("web2", "state.apply")["web2"][OF_WEB]
    assert state["changes"] == {"restored": [instance]}, state
    assert agents.passing("web") == before
    state = salt("web2", "state.apply")["web2"][OF_WEB]
    assert state["changes"] == {}


def test_highstate_leaves_a_deployment_under_way_alone(deploy, agents, salt, cli, archives, define):
    archives.make("slow", **{"delay/selftest": 1.5})
    # The last wave is still to come while the state runs.
    define(waves=[1, 2, "100%"])
    deploy("app", "web")
    running = cli.start("salt-run", "deploy.app", "web", "version=slow")
    try:
        for line in running.stdout:
            if line.startswith("start "):
                break
        state = salt("web3", "state.apply")["web3"][OF_WEB]
        assert state["comment"] == "web is being deployed: nothing is restored meanwhile"
    finally:
        output, _ = running.communicate()
    assert running.returncode == 0, output
    assert versions(agents) == ["slow"] * 3


def test_what_a_node_does_with_an_instance(deploy, agents, salt):
    deploy("app", "web")
    [(instance, shown)] = salt("web1", "app.instances", "web")["web1"].items()
    assert (shown["state"], shown["version"]) == ("running", "1.0")
    assert salt("web1", "app.restart", "web")["web1"]["instances"] == [instance]
    assert ("web1", instance) in agents.passing("web")
    assert list(salt("web1", "app.logs", "web")["web1"]) == [instance]
    assert "1.0" in salt("web1", "app.releases", "web")["web1"]
    assert "in use" in salt("web1", "app.remove", "web", "'1.0'")["web1"]
    deploy("app", "web", "version='1.1'")
    assert salt("web1", "app.remove", "web", "'1.0'")["web1"] is True
    assert "1.0" not in salt("web1", "app.releases", "web")["web1"]
    [state] = salt("web1", "state.single", "app.installed", "web", "version='1.0'")["web1"].values()
    assert state["changes"] == {"installed": "1.0"}


@pytest.mark.main_path
def test_services_that_are_no_apps(agents, salt):
    service = ("postgres", "port=5432", "address=127.0.1.99", "checks=[]", "meta={role: primary}")
    would = salt("web1", "state.single", "discovery.published", *service, "test=True")["web1"]
    assert [s["result"] for s in would.values()] == [None]
    assert agents.passing("postgres", passing=False) == {}
    [state] = salt("web1", "state.single", "discovery.published", *service)["web1"].values()
    assert state["changes"] == {"published": "postgres"}
    [state] = salt("web1", "state.single", "discovery.published", *service)["web1"].values()
    assert state["changes"] == {}
    template = "{% for db in salt['discovery.find']('postgres') %}{{ db.address }}:{{ db.port }}{% endfor %}"
    until(lambda: salt("web2", "discovery.find", "postgres")["web2"], 10, "web2 to find postgres")
    found = salt("web2", "slsutil.renderer", f"string={template}", "default_renderer=jinja")["web2"]
    assert found == "127.0.1.99:5432"
    [state] = salt("web1", "state.single", "discovery.withdrawn", "postgres")["web1"].values()
    assert state["changes"] == {"withdrawn": "postgres"}
    assert salt("web2", "discovery.find", "nothing-like-it")["web2"] == []


def test_an_app_follows_the_addresses_of_a_service(define, deploy, agents, salt):
    def databases():
        """Return what the processes of the app have as DATABASES."""
        ports = {(address, port) for address, port, _ in agents.passing("web").values()}
        listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        return {psutil.Process(c.pid).environ()["DATABASES"] for c in listening if tuple(c.laddr) in ports}

    def publish(node, address):
        service = ("name=postgres", "port=5432", f"address={address}", "checks=[]")
        salt(node, "state.single", "discovery.published", *service)
        until(lambda: address in str(salt("web2", "discovery.find", "postgres")), 10, f"web2 to find {address}")

    # A placeholder of an app that does not follow is refused before anything else.
    app = {"env": {"DATABASES": "{addresses:postgres}"}, "requires": ["postgres"]}
    define(app)
    assert "apps:web:env:DATABASES: {addresses:…} at character 1 is for an app with `follow: true`" in deploy(
        "app", "web", code=3
    )
    define({**app, "follow": True})
    assert "web requires postgres" in deploy("app", "web", code=3)
    publish("web1", "127.0.1.99")
    deploy("app", "web")
    assert databases() == {"127.0.1.99:5432"}
    assert "nothing was done" in deploy("app", "web")
    publish("web3", "127.0.1.98")
    status = data(deploy, "status", "web")
    assert all(i["settings"] == {"env": ["DATABASES"]} for i in status["apps"][0]["instances"]), status
    deploy("app", "web")
    assert databases() == {"127.0.1.98:5432,127.0.1.99:5432"} and len(agents.passing("web")) == 3
    define()
    deploy("app", "web")
    for node in ("web1", "web3"):
        salt(node, "state.single", "discovery.withdrawn", "postgres")


def test_an_app_can_be_made_absent(deploy, agents, salt):
    deploy("app", "web")
    [state] = salt("web3", "state.single", "app.absent", "web")["web3"].values()
    assert "1.0" in state["changes"]["removed"] and len(state["changes"]["stopped"]) == 1
    assert len(agents.passing("web")) == 2
    deploy("app", "web")
    assert len(agents.passing("web")) == 3


@pytest.mark.main_path
def test_a_real_app_from_the_package_index(deploy, agents, pillar, define):
    """httpbin under gunicorn: what the repository's own pillar says, on one node of this site."""
    import yaml

    from tests.support.site import REPOSITORY

    httpbin = yaml.safe_load((REPOSITORY / "pillar/apps/httpbin.sls").read_text())["apps"]
    environment = apps.environment(agents, apps={"httpbin": {"version": "0.10.1", "user": "root", "instances": 2}})
    environment["strategy"].update(healthy_deadline="60s", progress_deadline="300s")
    pillar.write(httpbin, {"site": environment})
    output = deploy("app", "httpbin", "nodes=web1,web2")
    assert "httpbin 0.10.1 is published in site: 2 instances" in output
    for address, port, _ in agents.passing("httpbin").values():
        assert requests.get(f"http://{address}:{port}/get?a=b", timeout=10).json()["args"] == {"a": "b"}
    deploy("withdraw", "httpbin", "confirm=True")
