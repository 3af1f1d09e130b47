"""The release that another environment has accepted, and all the reasons for which it is not taken."""

from __future__ import annotations

import time

import pytest
from saltdeploy import discovery
from saltdeploy.core import entries
from saltdeploy.core.conditions import Conditions
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.definition.parity import Difference
from saltdeploy.master.conditions import person
from saltdeploy.master.verbs import promotion

from tests.support.fleet import make_app
from tests.support.verbs import Catalog, call

NODES = {"p1": {"address": "10.0.0.1"}}
APP = {"source": {"archive": "salt://a.tar.gz", "sha256": "ab" * 32}, "run": "./a", "ports": "100-109"}
PILLAR = {
    "apps": {"shop": APP, "till": APP},
    "environments": {
        "production": {"nodes": NODES, "apps": {"shop": {"version": "1.0"}, "till": {"version": "1.0"}}},
        "test": {"based_on": "production", "nodes": {"t1": {"address": "10.0.0.2"}}},
    },
}
ROW = {"node": "t1", "version": "1.1@4", "state": "published", "health": "passing", "notes": [], "outdated": []}
RECORD = {"version": "1.1@4", "deployment": "d7", "nodes": {"t1": ["shop_1.1@4_100"]}, "digests": {"1.1": "ab" * 32}}


@pytest.fixture
def accepted(monkeypatch):
    """Return what test has accepted for production. ``shown`` changes its status, and ``record`` its record."""

    def of(
        record=None,
        within=None,
        pillar=PILLAR,
        machines=(),
        silent=(),
        allow_drift=False,
        from_env="test",
        there=True,
        **shown,
    ):
        kept = {**RECORD, "time": time.time() - 3600, **(record or {})}
        status = {"app": "shop", "deployment": "d7", "time": kept["time"], "desired": 1, "paused": "", "frozen": ""}
        status |= {"warnings": [], "lock": "", "drift": "the definition differs", "strangers": []}
        status |= {"instances": [{**ROW, "settings": {}}], **shown}
        monkeypatch.setattr(promotion.app_status, "run", lambda session, name, env: {"apps": [status]})
        monkeypatch.setattr(
            promotion.environments,
            "compare_machines",
            lambda session, *both: ([Difference(f"machines:{m}", 1, 2) for m in machines], dict(silent)),
        )
        found = Catalog({"deploy/test/shop/current": kept} if there else {})
        monkeypatch.setattr(discovery, "connect", lambda config: found)
        here = Environment(
            "production", {"p1": Node("p1", "10.0.0.1")}, {}, conditions=Conditions(accept_within=within)
        )
        made.pillar = lambda: pillar
        return promotion.accepted(made, here, make_app(), from_env, allow_drift)

    made = call()
    of.session = made
    return of


def operated(*operators):
    """Return the pillar in which test has these operators."""
    environments = PILLAR["environments"]
    test = {**environments["test"], "operators": list(operators)}
    return {**PILLAR, "environments": {**environments, "test": test}}


def changed(**keys):
    """Return the pillar in which the shop of test has these keys."""
    environments = PILLAR["environments"]
    test = {**environments["test"], "apps": {"shop": keys, "till": {"env": {"OTHER": "1"}}}}
    return {**PILLAR, "environments": {**environments, "test": test}}


def test_the_version_and_the_content_are_taken_without_the_number_of_the_settings(accepted):
    found = accepted()
    assert (found.version, found.digest, found.unlike) == ("1.1", "ab" * 32, [])
    assert found.as_data() == {"from_env": "test", "from_deployment": "d7"}
    assert accepted(record={"digests": {}}).digest == ""
    assert accepted(within=7200).version == "1.1"
    assert accepted(pillar=operated(person(accepted.session.owner))).version == "1.1"


@pytest.mark.parametrize(
    "shown, said",
    [
        ({"paused": "it is paused"}, "shop is not accepted in test: it is paused."),
        ({"frozen": "it is frozen"}, "it is frozen"),
        ({"desired": 2}, "1 of 2 instances are healthy"),
        ({"instances": [{**ROW, "settings": {}, "health": "critical"}]}, "0 of 1 instances are healthy"),
        ({"instances": [{**ROW, "settings": {"env": ["A"]}}]}, "instances on t1 are not as defined"),
        ({"instances": [{**ROW, "settings": {}}, {**ROW, "settings": {}, "version": "1.0"}]}, "clients get 1.0, 1.1 "),
        ({"instances": [], "desired": 0}, "clients get nothing"),
        ({"lock": "shop is being deployed"}, "somebody deploys it at this moment"),
        ({"deployment": "d6"}, "somebody deploys it at this moment"),
        ({"within": 60}, "accepted in test 1.0 h ago, and production takes a release within 0.0 h (accept_within)"),
        ({"from_env": "production"}, "from_env=production: is the environment itself"),
        ({"pillar": operated("nobody")}, "may not use test: environments:test:operators has nobody."),
        ({"from_env": "tset"}, "unknown environment 'tset'"),
        ({"machines": ["os"]}, "production and test are unlike in machines:os: see salt-run environment.diff"),
        ({"pillar": changed(env={"A": "1"}, version="1.1")}, "are unlike in apps:shop:env:A:"),
    ],
)
def test_it_is_refused(accepted, shown, said):
    with pytest.raises(Refused) as refused:
        accepted(**shown)
    assert said in str(refused.value), str(refused.value)


def test_an_app_that_is_not_deployed_there_is_refused(accepted):
    with pytest.raises(Refused, match="^shop is not deployed in test, so there is nothing to take to production"):
        accepted(there=False, deployment="", time=None, instances=[])


def test_other_apps_and_the_version_may_differ_and_the_rest_by_request(accepted):
    assert accepted(pillar=changed(version="1.1")).unlike == []
    found = accepted(pillar=changed(env={"A": "1"}), machines=["os"], allow_drift=True)
    assert found.unlike == ["apps:shop:env:A", "machines:os"]
    assert found.as_data()["allowed_drift"] == found.unlike


def test_the_time_is_that_of_the_deployment_and_not_of_later_runs(accepted):
    """A release that was scaled, evacuated or withdrawn and published again is no fresher for it."""
    history = [
        {"deployment": "d9", "verb": "scale", "retcode": 0, "record": {**RECORD, "deployment": "d9", "time": 300.0}},
        {"deployment": "d8", "verb": "deploy", "retcode": 1, "record": {**RECORD, "version": "2.0", "time": 250.0}},
        {"deployment": "d5", "verb": "deploy", "retcode": 0, "record": {**RECORD, "deployment": "d5", "time": 200.0}},
        {"deployment": "d4", "verb": "deploy", "retcode": 0, "record": {**RECORD, "version": "1.0", "time": 100.0}},
        {"deployment": "d3", "verb": "deploy", "retcode": 0, "record": {**RECORD, "deployment": "d3", "time": 50.0}},
    ]
    record = {**RECORD, "deployment": "d9", "time": 300.0}
    assert entries.since(history, record) == (200.0, "d5")
    assert entries.since([], record) == (300.0, "d9")


def test_a_node_that_does_not_answer_is_told(accepted):
    assert accepted(silent={"t1": "does not answer"}).version == "1.1"
    assert accepted.session.journal.warnings == ["t1 is not compared: does not answer"]
