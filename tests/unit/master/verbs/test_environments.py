"""The rows of an environment's status, and its verdict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import environments

from tests.support.verbs import WELL, Catalog, Minions, call


def row(node="web1", **changes):
    usual = {"id": "shop_1.0_80", "node": node, "state": "published", "health": "passing"}
    return {**usual, "notes": [], "outdated": [], "settings": {}, **changes}


def app(*instances, **changes):
    usual = {"app": "shop", "version": "1.0", "time": 1.0, "defined": True, "desired": 1, "drift": "", "lock": ""}
    about = {"paused": "", "frozen": "", "warnings": [], "strangers": [], "instances": list(instances)}
    return {**usual, **about, **changes}


@pytest.fixture
def status(monkeypatch):
    """Return the status of an environment with these apps, whose nodes answer so."""

    def of(*apps, **answers):
        environment = Environment("site", {node: Node(node, "10.0.0.1") for node in answers}, {})
        minions = Minions(**{"environment.machine": answers})
        monkeypatch.setattr(environments, "Fleet", lambda opts: minions)
        monkeypatch.setattr(environments.app_status, "run", lambda session, name, env: {"apps": list(apps)})
        catalog = Catalog(of.keys)
        catalog.holders.update(of.holders)
        monkeypatch.setattr(environments.discovery, "connect", lambda config: catalog)
        return environments.status(call(environment=lambda env: environment), "site")

    of.keys, of.holders = {}, {}
    return of


def test_all_is_as_defined(status):
    found = status(app(row()), web1=WELL)
    assert (found["as_defined"], found["retcode"]) == (True, 0)
    assert found["apps"] == [
        {"app": "shop", "version": "1.0", "healthy": 1, "published": 1, "desired": 1, "lock": "", "problems": []}
    ]
    assert found["nodes"] == [{"node": "web1", "answers": True, "free": 5 << 30, "size": 10 << 30, "problems": []}]


@pytest.mark.parametrize(
    "changed, problem",
    [
        (app(row(), drift="the definition differs: it says 2"), "the definition differs: it says 2"),
        (app(row(), paused="shop is paused"), "shop is paused"),
        (app(row(), frozen="shop is frozen"), "shop is frozen"),
        (app(row(), warnings=["the record is odd"]), "the record is odd"),
        (app(time=None), "it is not deployed"),
        (app(row(health="critical")), "0 of 1 instances are healthy"),
        (app(row(notes=["not in the record"])), "instances on web1 are not as defined"),
        (app(row(outdated=["tags"])), "instances on web1 are not as defined"),
        (app(row(settings={"env": ["A"]})), "instances on web1 are not as defined"),
        (app(row(), row("web2", state="lost", health="")), "instances on web2 are not as defined"),
        (app(row(), strangers=[row("web9", state="foreign")]), "other services have its name on web9"),
    ],
)
def test_each_difference_is_told(status, changed, problem):
    found = status(changed, web1=WELL)
    assert (found["apps"][0]["problems"], found["as_defined"], found["retcode"]) == ([problem], False, 1)


def test_candidates_that_wait_are_told(status):
    found = status(app(row(), row("web2", state="candidate")), web1=WELL)
    assert found["apps"][0]["problems"] == ["candidates wait on web2: see deploy.status"]


def test_what_is_no_difference(status):
    """A deployment under way, a candidate, more instances than desired, and another environment with the same app."""
    warm = row("web2", state="warm", settings={"env": ["A"]}, notes=["settings not as defined (env: A)"])
    assert status(app(row(restarts=[1, "tcp"]), warm), web1=WELL)["as_defined"]
    other = row("web9", state="other", notes=["of environment test"])
    busy = app(row(), row("web2"), row("web3", state="candidate"), lock="ann deploys it", strangers=[other])
    assert status(busy, web1=WELL)["as_defined"]
    # An app whose definition is wrong says so in its drift alone.
    assert status(app(row(), desired=None), web1=WELL)["apps"][0]["problems"] == []


@pytest.mark.parametrize(
    "answer, problem",
    [
        (Reply("web1", None, "does not answer", silent=True), "does not answer"),
        ({**WELL, "agent": "Consul does not answer"}, "its agent: Consul does not answer"),
        ({**WELL, "low": True}, "its disk is too full for further releases"),
        ({**WELL, "undefined": ["blog", "till"]}, "runs apps that are not defined here: blog, till"),
    ],
)
def test_each_trouble_of_a_node_is_told(status, answer, problem):
    found = status(app(row()), web1=answer)
    assert (found["nodes"][0]["problems"], found["retcode"]) == ([problem], 1)


@pytest.mark.parametrize("answer", [{}, "x", {**WELL, "free": "much"}, {**WELL, "undefined": [5]}])
def test_an_answer_that_is_not_believed(status, answer):
    [node] = status(app(row()), web1=answer)["nodes"]
    assert not node["answers"] and "is not to be believed" in node["problems"][0]


def test_a_folder_must_have_environments(tmp_path):
    for root, opts in ((str(tmp_path), {}), (None, {"pillar_roots": {"base": [str(tmp_path)]}}), (None, {})):
        with pytest.raises(Refused, match=r"has no folder environments\. Say root=FOLDER"):
            environments.validate(SimpleNamespace(opts=opts, owner=environments.owner()), root)


def test_only_the_master_s_own_user_names_a_folder(tmp_path):
    """Its files are programs, which run as the master."""
    (tmp_path / "environments").mkdir()
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps/evil.sls").write_text(f"#!py\ndef run():\n    open('{tmp_path}/ran', 'w')\n    return {{}}\n")
    with pytest.raises(Refused, match="root=: is for the Unix user of the master"):
        environments.validate(SimpleNamespace(opts={}, owner="ci@salt"), str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_run_for_several_apps_is_told(status):
    assert status(web1=WELL)["lock"] == ""
    status.keys = {"deploy/site/lock": {"owner": "ann@m", "deployment": "d1", "doing": "taken down"}}
    status.holders = {"deploy/site/lock": "a session"}
    found = status(web1=WELL)
    assert found["lock"].startswith("site is being taken down by ann@m (deployment d1).") and found["as_defined"]


def test_a_node_that_is_out_of_use_is_named_with_the_reason(status):
    status.keys = {"deploy/site/.away/web1": {"by": "ann@m", "reason": "new disk"}, "deploy/site/.away/web2": "odd"}
    found = status(web1=WELL, web2=Reply("web2", None, "does not answer", silent=True), web3=WELL)
    assert found["as_defined"] is False
    assert [row["problems"] for row in found["nodes"]] == [
        ["web1 is out of use (ann@m, reason: new disk): to bring it back, run salt-run deploy.return web1 env=site"],
        [
            "web2 is out of use (somebody): to bring it back, run salt-run deploy.return web2 env=site",
            "does not answer",
        ],
        [],
    ]


@pytest.fixture
def diff(monkeypatch):
    """Return the differences between two environments whose nodes have these facts."""

    def of(*sides):
        made = []
        for number, answers in enumerate(sides):
            nodes = {node: Node(node, "10.0.0.1") for node in answers}
            made.append(Environment(f"e{number}", nodes, {}))
        minions = Minions(**{"environment.facts": {n: a for answers in sides for n, a in answers.items()}})
        monkeypatch.setattr(environments, "Fleet", lambda opts: minions)
        found, silent = environments.compare_machines(call(), *made)
        assert minions.jobs == [("environment.facts", [])]
        return [tuple(difference) for difference in found], silent

    return of


def test_nodes_that_are_unlike(diff):
    one, other = {"os": "Debian 12", "salt": "3008"}, {"os": "Debian 11", "salt": "3008", "packages:curl": "7"}
    assert diff({"p1": one, "p2": one}, {"t1": one}) == ([], {})
    found = [("machines:os", "Debian 11, Debian 12", "Debian 12"), ("machines:packages:curl", "7", None)]
    assert diff({"p1": one, "p2": other}, {"t1": one}) == (found, {})


def test_nodes_that_do_not_answer_are_named(diff):
    one, silent = {"os": "Debian 12"}, Reply("", None, "does not answer", silent=True)
    assert diff({"p1": one}, {"t1": silent}) == ([], {"t1": "does not answer"})
    # It may be the node that has the package.
    two = {"os": "Debian 12", "packages:curl": "7"}
    assert diff({"p1": two}, {"t1": silent, "t2": one}) == ([], {"t1": "does not answer"})
    assert diff({"p1": silent, "p2": one}, {"t2": two}) == ([], {"p1": "does not answer"})
    found, why = diff({"p1": one}, {"t1": {"os": 5}})
    assert found == [] and "is not to be believed" in why["t1"]


def test_a_mistake_is_listed_and_hides_no_environment():
    good = {"nodes": {"web1": {"address": "10.0.0.1"}}}
    found = {"apps": {}, "environments": {"good": good, "odd": {"nodes": {1: {}, "w2": {}}}, "none": None, 5: good}}
    listed = environments.listed(call(pillar=lambda: found))
    rows = {r["environment"]: r for r in listed["environments"]}
    assert set(rows) == {"good", "odd", "none"} and rows["good"]["mistakes"] == []
    assert rows["odd"]["mistakes"] and rows["none"]["mistakes"] and "is not text" in listed["left_out"]["5"]


def test_wrong_environments_are_not_compared():
    shop = {"source": {"pip": "shop"}, "run": "x"}
    one = {"nodes": {"a": {"address": "10.0.0.1"}}, "apps": {"shop": {}}}
    other = {"nodes": {"b": {"address": "10.0.0.2"}}, "apps": {"shop": {"odd": 1}}}
    session = call(pillar=lambda: {"apps": {"shop": shop}, "environments": {"one": one, "other": other}})
    why = "shop in other: has mistakes, so it cannot be compared. To see them, run `salt-run environment.list`"
    with pytest.raises(Refused, match=why):
        environments.diff(session, "one", "other", False)
    other.update(apps={}, nodes=one["nodes"])
    with pytest.raises(Refused, match="a: is among the `nodes` of both environments. Leave it in one"):
        environments.diff(session, "one", "other", False)
