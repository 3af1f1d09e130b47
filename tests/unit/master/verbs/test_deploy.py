"""A deployment, and a pause that it waits out: it goes on by itself, or back."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DONE, NOT_REVERTED, REVERTED, DiscoveryUnavailable, Failed, Refused
from saltdeploy.discovery import Endpoint
from saltdeploy.master.outcome import Outcome
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import abort, deploy, promote
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import THREE, instance, make_app
from tests.support.verbs import PAUSED, Minions, entry, recorded

NEW = {**PAUSED, "nodes": {"web1": ["shop_2.0_100"]}}
RESULT = {"app": "shop", "environment": "e", "record": NEW, "reason": "", "retcode": DONE}


@pytest.fixture
def waited(here, monkeypatch):
    """Return ``call(…)``, which waits out a pause. It returns the result, and how it went on.

    ``gone`` is the answer of discovery, or its error: whether new instances died meanwhile.
    """

    def call(gone=False, record=NEW, on=None, back=None):
        made, ends = here(record=record), []

        def end(kind, outcome):
            def run(*args):
                ends.append((kind, args[-1]))
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome

            return run

        def wait(*args, **options):
            if isinstance(gone, Exception):
                raise gone
            return gone

        monkeypatch.setattr(made.catalog, "wait", wait)
        monkeypatch.setattr(deploy, "_measure", lambda *args: "")
        monkeypatch.setattr(promote, "run", end("on", on))
        monkeypatch.setattr(abort, "run", end("back", back))
        return deploy._wait_out(made.session, made.environment, made.app, RESULT), ends

    return call


@pytest.mark.parametrize(
    "promoted, aborted, code",
    [
        (DONE, None, DONE),
        (NOT_REVERTED, None, NOT_REVERTED),
        (REVERTED, DONE, REVERTED),
        (REVERTED, REVERTED, NOT_REVERTED),
    ],
)
def test_a_pause_for_a_time_that_cannot_be_gone_on_from_is_gone_back_from(monkeypatch, promoted, aborted, code):
    """…all the way: nobody is there to say how to go on."""
    record = {**PAUSED, "nodes": {"web1": ["shop_2.0_100"]}}
    backend = SimpleNamespace(wait=lambda *args, **kwargs: False, read=lambda key: (record, 0, ""))
    monkeypatch.setattr(deploy.discovery, "connect", lambda config: contextlib.nullcontext(backend))
    reasons, why = [], "test on web2: no\nits last lines:\nno database"
    monkeypatch.setattr(deploy, "_measure", lambda *args: "")
    monkeypatch.setattr(promote, "run", lambda *args: {"retcode": promoted, "why": why})
    monkeypatch.setattr(abort, "run", lambda *args: reasons.append(args[-1]) or {"retcode": aborted})
    environment, result = SimpleNamespace(name="e", discovery={}), {"record": record, "reason": "", "before": "1.0"}
    assert deploy._wait_out(Session({}), environment, make_app(), result)["retcode"] == code
    assert reasons == ([] if aborted is None else ["after the pause, test on web2: no"])


def test_instances_that_die_in_a_pause_are_taken_back(waited):
    result, ends = waited(gone=True, back={"retcode": DONE, "verdict": "it is taken back"})
    assert ends == [("back", "it did not stay healthy while it was paused")]
    assert (result["outcome"], result["retcode"], result["verdict"]) == ("reverted", REVERTED, "it is taken back")


def test_a_pause_that_somebody_ended_is_left_to_them(waited):
    result, ends = waited(record=recorded("1.0", {}))
    assert ends == []
    assert result["verdict"] == "somebody went on with shop meanwhile: salt-run deploy.status shop env=e"


@pytest.mark.parametrize("gone, way", [(False, "on"), (True, "back")])
def test_who_can_go_neither_on_nor_back_stays_paused_and_says_so(waited, gone, way):
    locked = Refused("shop is being restarted in e")
    result, _ = waited(gone, on=locked, back=locked)
    assert (result["outcome"], result["retcode"]) == ("not_reverted", NOT_REVERTED)
    assert result["verdict"].startswith("shop 2.0 is paused after its first wave")
    assert result["verdict"].endswith(f". (It could not go {way}: shop is being restarted in e)")


def test_a_pause_in_which_discovery_is_lost_stays_a_pause(waited):
    result, ends = waited(gone=DiscoveryUnavailable("no leader"))
    assert (result["outcome"], result["retcode"], ends) == ("not_reverted", NOT_REVERTED, [])
    assert result["verdict"].endswith(", or salt-run deploy.abort shop env=e. (no leader)")


def plan(made, keep=False):
    """Return the result of a dry run."""
    return deploy.run(made.session, "shop", None, "2.0", None, None, True, True, keep, None, False)


def test_a_paused_deployment_is_in_the_way_of_another(here):
    with pytest.raises(Refused, match="^shop 2.0 is paused after its first wave"):
        plan(here(record=NEW))


def test_a_dry_run_shows_the_plan(here):
    old = instance("web1")
    made = here(old, record=recorded("1.0", {"web1": [old.id]}), releases={"web1": ["1.0"]})
    result = plan(made)
    assert (result["version"], result["retcode"]) == ("2.0", DONE)
    assert result["plan"] == [
        "install shop 2.0 on web1",
        "wave 1: start, test and publish 1 on web1",
        f"wave 1: retire {old.id} on web1",
    ]


def test_a_service_of_others_is_refused_unless_it_is_to_stay(here):
    made = here()
    made.catalog.found = [Endpoint("legacy", "shop", "web1", "127.0.0.1", 80, meta={})]
    with pytest.raises(Refused, match="legacy on web1, which saltdeploy did not register"):
        plan(made)
    result = plan(made, keep=True)
    assert any("legacy on web1" in warning for warning in result["warnings"])


@pytest.fixture
def measured(here, monkeypatch):
    """Return ``call(failure="", canary="full")``, which returns the problem at the end of a pause, and the measured."""

    def call(failure="", canary="full", settings=""):
        made, seen = here(), []

        def run(jobs, app, where, check):
            seen.append((where.version, where.node, where.instance))
            if failure:
                raise Failed(failure)

        monkeypatch.setattr(deploy.measurements, "run", run)
        monkeypatch.setattr(deploy, "Fleet", lambda opts: made.minions)
        service = made.app.candidate if canary == "none" else made.app.name
        new = {("web2", f"shop_2.0_101{settings}"), ("web1", f"shop_2.0_100{settings}")}
        return deploy._measure(made.session, made.environment, made.app, service, new, made.catalog), seen

    return call


def test_at_the_end_of_a_pause_it_is_measured_once_more(measured):
    assert measured() == ("", [("2.0", "web1", "shop_2.0_100")])
    # A query names the release, whatever its settings are.
    assert measured(settings="-7") == ("", [("2.0", "web1", "shop_2.0_100-7")])
    assert measured("errors: 0.2 is above 0.1")[0] == "at the end of the pause, errors: 0.2 is above 0.1"


def test_candidates_have_no_clients_to_measure(measured):
    assert measured("never asked", canary="none") == ("", [])


@pytest.mark.parametrize("pause, code", [(math.inf, DONE), (30.0, REVERTED)])
def test_only_a_pause_for_a_time_is_waited_out(here, monkeypatch, pause, code):
    app = make_app()
    made = here(app=replace(app, strategy=replace(app.strategy, pause=pause)))
    monkeypatch.setattr(deploy.task, "carry_out", lambda *args: {**RESULT, "outcome": Outcome.PAUSED.value})
    monkeypatch.setattr(deploy, "_wait_out", lambda *args: {**args[-1], "retcode": REVERTED})
    result = deploy.run(made.session, "shop", None, "2.0", None, None, True, False, False, None, False)
    assert result["retcode"] == code


FILES = {"app.files": {node: {"problems": [], "warnings": []} for node in THREE}}


def planned(made):
    """Return version, plan and data of a dry run of release 1.0."""
    result = deploy.run(made.session, "shop", None, "1.0", 1, None, True, True, False, None, False)
    return result["version"], result["plan"], result["actions"]


def test_other_settings_of_the_release_that_runs_are_rolled_out(here):
    there = instance("web1")
    options = {"record": recorded("1.0", {"web1": [there.id]}), "releases": {"web1": ["1.0"]}}
    history = [entry("1.0"), entry("1.0@6", retcode=1)]
    kept = {"web1": {"1.0": {"env": ["LEVEL"]}}}
    made = here(there, minions=Minions(**FILES), history=history, editions=kept, **options)
    version, plan, actions = planned(made)
    assert (version, made.compared) == ("1.0@7", "1.0")
    assert plan == [
        "the definition has other settings (env: LEVEL) than shop_1.0_100 on web1",
        "wave 1: start, test and publish 1 on web1",
        "wave 1: retire shop_1.0_100 on web1",
    ]
    assert actions["settings"] == {"web1": {there.id: {"env": ["LEVEL"]}}}
    made = here(there, editions={"web1": {"1.0": {}}}, **options)
    assert planned(made)[:2] == ("1.0", ["no changes: the deployed instances are as defined"])


def test_the_number_of_settings_is_noted_before_anything_is_done_and_not_given_twice(here):
    """A run may be killed then, and the node that has the settings may not answer the next."""
    there = instance("web1")
    kept = {"editions": {"web1": {"1.0": {"env": ["LEVEL"]}}}, "releases": {"web1": ["1.0"]}}
    failing = {"app.start": {"web1": Reply("web1", None, "no")}}
    made = here(there, minions=Minions(**FILES, **failing), record=recorded("1.0", {"web1": [there.id]}), **kept)
    assert planned(made)[0] == "1.0@1" and f"{made.prefix}settings" not in made.catalog.values
    deploy.run(made.session, "shop", None, "1.0", 1, None, True, False, False, None, False)
    assert made.catalog.values[f"{made.prefix}settings"] == 1
    keys = {f"{made.prefix}settings": 1}
    made = here(there, minions=Minions(**FILES), record=recorded("1.0", {"web1": [there.id]}), keys=keys, **kept)
    assert planned(made)[0] == "1.0@2"


def test_candidates_alone_cannot_have_the_record_forget_anything(here):
    made = here()
    made.session.forget = True
    with pytest.raises(Refused, match="forget=True, publish=False: say one of them"):
        deploy.run(made.session, "shop", "e", "2.0", None, None, False, True, False, "", False)
