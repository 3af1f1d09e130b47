"""When a new version is deployed, when it is not, and how watching goes on and ends."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core import records
from saltdeploy.core.errors import DONE, NOT_REVERTED, REFUSED, REVERTED, Refused
from saltdeploy.core.model import Source
from saltdeploy.master import verbs
from saltdeploy.master.verbs import watch

from tests.support.fleet import THREE, make_app
from tests.support.verbs import Minions, entry, recorded


def at(version, stamp=""):
    return {"app.newest": {node: {"version": version, "stamp": stamp} for node in THREE}}


@pytest.fixture
def deployed(monkeypatch):
    """The versions that were deployed, and the results of the next deployments."""
    done = SimpleNamespace(versions=[], results=[])

    def run(session, name, env, version, *args):
        done.versions.append(version)
        result = done.results.pop(0) if done.results else {"verdict": f"{version} is published", "retcode": DONE}
        if isinstance(result, BaseException):
            raise result
        return {"version": version, "outcome": "done", **result}

    monkeypatch.setattr(watch.deploy, "run", run)
    return done


def run(here, every=None, test=False):
    here.session.pillar = lambda: {"environments": {}}
    return verbs.watch.run(here.session, "shop", "e", every, test, "")


def test_another_version_is_deployed_once(here, deployed):
    made = here(record=recorded("1.0", {}), minions=Minions(**at("1.1")))
    assert run(made)["version"] == "1.1" and deployed.versions == ["1.1"]
    assert made.minions.jobs == [("app.newest", "shop", "1.0", {}, True)]
    same = run(here(record=recorded("1.1@2", {}), minions=Minions(**at("1.1"))))
    assert (same["verdict"], same["retcode"]) == ("No new version: shop 1.1 is deployed in e.", DONE)
    # The first version of all.
    run(here(minions=Minions(**at("1.0"))))
    assert deployed.versions == ["1.1", "1.0"]


def failed(version, **more):
    return entry(version, retcode=REVERTED, record=recorded("1.0", {}), deployment="d7", **more)


@pytest.mark.parametrize(
    "history",
    [
        [failed("1.1")],
        [entry("1.1"), entry("1.0", verb="rollback", left="1.1", deployment="d7")],
        [entry("1.1"), entry("1.0", verb="abort", left="1.1@3", deployment="d7")],
        [failed("1.1"), entry("1.0", verb="scale"), entry("1.0", verb="restart")],
        [entry("1.1", retcode=NOT_REVERTED, deployment="d7")],
    ],
)
def test_a_version_that_failed_or_was_left_is_not_tried_again(here, deployed, history):
    result = run(here(record=recorded("1.0", {}), history=history, minions=Minions(**at("1.1"))))
    assert deployed.versions == [] and result["retcode"] == DONE
    assert result["verdict"] == (
        "shop 1.1 is not tried again: see deployment d7 in e. It failed, or somebody went back from it, removed the app, or"
        " is to publish its candidates. Another version is tried. To try this one: salt-run deploy.app shop"
        " version=\"'1.1'\" env=e"
    )


@pytest.mark.parametrize(
    "history",
    [
        [failed("1.1"), failed("1.2")],
        [failed("1.1"), entry("1.0")],
        [entry("1.1"), entry("1.0", verb="rollback", left="1.1"), entry("1.2"), entry("1.0")],
        [failed("1.2"), entry("1.1", verb="scale")],
    ],
)
def test_after_something_else_it_is_tried_again(here, deployed, history):
    run(here(record=recorded("1.0", {}), history=history, minions=Minions(**at("1.1"))))
    assert deployed.versions == ["1.1"]


def test_every_is_for_no_dry_run(here):
    with pytest.raises(Refused, match="every=, test=: say one of them"):
        run(here(), every="2s", test=True)
    with pytest.raises(Refused, match="every="):
        run(here(), every="soon")


class Editor:
    """Changes the source before each look, and interrupts in the end."""

    def __init__(self, made, *answers):
        self.minions, self.answers = made.minions, list(answers)

    def sleep(self, seconds):
        assert seconds == 2.0
        if not self.answers:
            raise KeyboardInterrupt
        self.minions.answers = self.answers.pop(0)


@pytest.fixture
def watching(here, monkeypatch, deployed):
    def watching(*answers, kind="path"):
        app = replace(make_app(), source=Source(kind, "/srv/shop"))
        made = here(record=recorded("wc-000000000001", {}), app=app, minions=Minions(**answers[0]))
        monkeypatch.setattr(watch.time, "sleep", Editor(made, *answers[1:]).sleep)
        monkeypatch.setattr(made.session, "beside", lambda emit, pillar: made.session)
        return run(made, every="2s"), made

    return watching


def test_watching_goes_on_after_a_failure_and_ends_with_ctrl_c(watching, deployed):
    bad = {"verdict": "2 was not deployed", "retcode": REVERTED, "outcome": "reverted"}
    deployed.results = [bad, Refused("closed until Monday"), {"verdict": "4 is published", "retcode": DONE}]
    result, made = watching(at("wc-2", "b"), at("wc-3", "c"), at("wc-3", "c"), at("wc-000000000001", "a"))
    assert deployed.versions == ["wc-2", "wc-3", "wc-3"]
    assert made.said() == [
        "watches the source of shop for e, until Ctrl-C",
        "2 was not deployed",
        "refused, nothing was changed: closed until Monday",
        "4 is published",
    ]
    assert (result["verdict"], result["retcode"]) == (
        "stopped watching shop in e: 2 deployments, 1 of them failed",
        DONE,
    )


def test_files_that_change_just_now_are_waited_for(watching, deployed):
    _, made = watching(at("wc-2"), at("wc-2", "b"))
    assert deployed.versions == ["wc-2"]
    assert made.said()[1:] == ["the files change: waits until they stay as they are", "wc-2 is published"]


def test_an_unchanged_folder_is_asked_with_the_answers_of_before(watching):
    _, made = watching(at("wc-000000000001", "a"), at("wc-000000000001", "a"))
    assert made.said()[1:] == ["No new version: shop wc-000000000001 is deployed in e."]
    asked = [job[3:] for job in made.minions.jobs]
    assert asked == [({}, True), ({"a": "wc-000000000001"}, False)]


def test_a_deployment_that_needs_a_look_is_the_result(watching, deployed):
    deployed.results = [{"verdict": "look now", "retcode": NOT_REVERTED, "outcome": "not_reverted"}]
    result, _ = watching(at("wc-2", "b"))
    assert (result["verdict"], result["retcode"]) == ("look now", NOT_REVERTED)


def test_a_refusal_is_said_once(watching, deployed):
    deployed.results = [Refused("closed until Monday")] * 3
    result, made = watching(*[at("wc-2", "b")] * 3)
    assert made.said()[1:] == ["refused, nothing was changed: closed until Monday"]
    assert result["verdict"] == "stopped watching shop in e: 0 deployments"
    assert result["retcode"] == DONE != REFUSED


def test_history_without_a_verb_is_of_deployments():
    old = {key: value for key, value in failed("1.1").items() if key != "verb"}
    assert watch._failed([old], "1.1") is old and records.NOTHING["version"] == ""


def test_where_another_version_waits_for_its_promotion(here, deployed, monkeypatch):
    made = here(record=recorded("1.0", {}), minions=Minions(**at("1.1")))
    environments = ("e", "closed", "none", "same", "other", "without", "copy")
    copy = replace(made.app, source=Source("path", "/srv/shop"))
    made.catalog.values.update(
        {
            f"deploy/{name}/shop/current": recorded(version, {})
            for name, version in (("same", "1.1"), ("other", "1.0@2"), ("copy", "wc-0123456789ab"))
        }
    )

    def load(pillar, name):
        if name == "closed":
            raise Refused("broken")
        apps = {"without": {}, "copy": {"shop": copy}}.get(name, made.environment.apps)
        return replace(made.environment, name=name, apps=apps)

    monkeypatch.setattr(made.session, "load", load)
    made.session.pillar = lambda: {"environments": dict.fromkeys(environments)}
    result = verbs.watch.run(made.session, "shop", "e", None, False, "")
    assert result["verdict"] == (
        "1.1 is published (other has 1.0 (settings 2). To take it there: salt-run deploy.app shop env=other from_env=e)"
    )


@pytest.mark.parametrize(
    "follow, settings, state, deployed_again",
    [
        (True, {"env": ["DB"]}, "published", True),
        (False, {"env": ["DB"]}, "published", False),
        (True, {}, "published", False),
        (True, {"env": ["DB"]}, "warm", False),
    ],
)
def test_an_app_that_follows_services_is_deployed_again_when_they_move(
    here, deployed, monkeypatch, follow, settings, state, deployed_again
):
    shown = {"instances": [{"settings": settings, "state": state}]}
    monkeypatch.setattr(watch.app_status, "run", lambda session, name, env: {"apps": [shown]})
    app = replace(make_app(), follow=follow)
    run(here(app=app, record=recorded("1.0", {}), minions=Minions(**at("1.0"))))
    assert deployed.versions == (["1.0"] if deployed_again else [])
    # Also where the newest version is not tried again, because somebody went back from it.
    history = [entry("1.1"), entry("1.0", verb="rollback", left="1.1", deployment="d7")]
    run(here(app=app, record=recorded("1.0", {}), history=history, minions=Minions(**at("1.1"))))
    assert deployed.versions == (["1.0"] * 2 if deployed_again else [])


def test_addresses_that_change_at_each_look_are_waited_for(here, deployed, monkeypatch):
    """Each wave of a service's own deployment changes them."""
    told = iter([{"env": ["A"]}, {"env": ["B"]}, {"env": ["B"]}, {}])
    row = {"state": "published"}

    def status(session, name, env):
        return {"apps": [{"instances": [{**row, "settings": next(told)}]}]}

    monkeypatch.setattr(watch.app_status, "run", status)
    made = here(app=replace(make_app(), follow=True), record=recorded("1.0", {}), minions=Minions(**at("1.0")))
    made.session.pillar = lambda: {"environments": {}}
    watching = watch._Watching(made.session, "shop", "e", "")
    monkeypatch.setattr(made.session, "beside", lambda emit, pillar: made.session)
    counts = []
    for _ in range(4):
        watching.once()
        counts.append(len(deployed.versions))
    assert counts == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "newest, told",
    [
        (entry("1.1", verb="remove", deployment="d7"), "removed the app"),
        (entry("1.1", deployment="d7", record=recorded("1.0", {})), "is to publish its candidates"),
    ],
)
def test_what_somebody_did_on_purpose_is_left_alone(here, deployed, newest, told):
    record = recorded("1.0", {}) if newest["verb"] == "deploy" else None
    result = run(here(record=record, history=[entry("1.0"), newest], minions=Minions(**at("1.1"))))
    assert deployed.versions == [] and told in result["verdict"]
