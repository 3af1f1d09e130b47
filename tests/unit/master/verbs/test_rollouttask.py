"""How a plan of instances is carried out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DONE, NOT_REVERTED, REVERTED, Failed, NotReverted, Refused
from saltdeploy.core.model import Hook, Stop
from saltdeploy.master.journal import Journal
from saltdeploy.master.outcome import Ending, Outcome
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.rollout.context import Frozen, Identity, Incomplete
from saltdeploy.master.verbs import rollouttask, task
from saltdeploy.planning import planner
from saltdeploy.planning.model import Desired, Plan

from tests.support.fleet import instance, make_app, observe
from tests.support.verbs import Minions, recorded

OLD, NEW = instance("web1"), instance("web1", "2.0", slot=101)
BEFORE, AFTER = recorded("1.0", {"web1": [OLD.id]}), recorded("2.0", {"web1": [NEW.id]})
FROZEN = {"version": "2.0", "why": "a hook", "by": "ann", "reason": "", "deployment": "d1", "since": 1.0}


@pytest.fixture
def deploy(here, monkeypatch):
    """Return ``call(error=None, …)``: a deployment of 2.0 on web1, whose steps end with ``error``."""

    def call(error=None, test=False, app=None, instances=(OLD,), **options):
        made = here(*instances, app=app, **{"record": BEFORE, "releases": {"web1": ["1.0"]}, **options})
        made.contexts = []

        def deployment(context, before, plan):
            made.contexts.append(context)

            def run():
                if error:
                    raise error
                made.serve(NEW)

            return SimpleNamespace(run=run, ledger=SimpleNamespace(before=before, record=AFTER))

        monkeypatch.setattr(rollouttask, "Deployment", deployment)
        desired = Desired(made.app, "2.0", 1, ("web1",))
        with made.session.site(made.environment, made.app) as site:

            def decide(observed):
                return rollouttask.decide(made.session, site, observed, desired, planner.plan, ", as asked")

            return task.carry_out(made.session, site, "deploy", decide, None, test), made

    return call


def room(digest="", packages=()):
    return {"installed": True, "digest": digest, "now": digest, "packages": list(packages)}


def test_a_deployment_has_the_longest_time_to_stop_of_all_that_is_there(monkeypatch):
    desired = Desired(make_app(), "2.0", 1, ("web1",))
    there, seen = replace(make_app(), stop=Stop("TERM", 600.0)), []

    def deployment(context, before, plan):
        seen.append(context.desired)
        return SimpleNamespace(run=lambda: None, ledger=SimpleNamespace(record={}))

    monkeypatch.setattr(rollouttask, "Deployment", deployment)
    site = SimpleNamespace(app=there, record=dict, fleet=None, discovery=None, environment=None)
    site.answering, site.observed, site.tolerated = ["web1"], ["web1"], frozenset()
    site.forget, site.owing, site.settled = False, list, frozenset
    ending = rollouttask._act(
        Journal(), site, observe(), desired, Plan({}, (), (), True), None, Identity("d1", "ann"), ""
    )
    assert ending == Ending(Outcome.DONE, {})
    assert seen[0].app.stop.timeout == 600.0


def test_a_deployment_that_ends_well_is_published(deploy):
    result, _ = deploy()
    assert (result["outcome"], result["retcode"], result["record"]) == ("done", DONE, AFTER)
    assert result["verdict"] == "shop 2.0 is published in e: 1 instance of 2.0 on web1, as asked"


@pytest.mark.parametrize(
    "error, outcome, code, record",
    [
        (Failed("no"), "reverted", REVERTED, BEFORE),
        (NotReverted("no", AFTER), "not_reverted", NOT_REVERTED, AFTER),
        (Incomplete("no", AFTER), "incomplete", NOT_REVERTED, AFTER),
        (Frozen("no", {**AFTER, "frozen": FROZEN}), "frozen", NOT_REVERTED, {**AFTER, "frozen": FROZEN}),
    ],
)
def test_each_end_of_the_steps_has_its_outcome(deploy, error, outcome, code, record):
    result, _ = deploy(error)
    assert (result["outcome"], result["retcode"], result["record"], result["why"]) == (outcome, code, record, "no")


def test_a_release_that_differs_between_nodes_is_not_installed_at_all(deploy):
    answers = {"web1": room("a" * 64), "web2": room("b" * 64)}
    result, made = deploy(minions=Minions(**{"app.room": answers}), releases={"web1": ["1.0"], "web2": ["2.0"]})
    assert (result["outcome"], result["retcode"], made.contexts) == ("reverted", REVERTED, [])
    assert "all is as before (1 instance of 1.0 on web1)" in result["verdict"]


def test_an_interrupt_before_the_first_step_has_changed_nothing(deploy, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(rollouttask.contents, "agree", interrupted)
    result, made = deploy()
    assert (result["outcome"], result["why"], made.contexts) == ("reverted", "it was interrupted", [])


def test_the_digest_that_nodes_agree_on_is_kept_for_the_record(deploy):
    _, made = deploy(minions=Minions(**{"app.room": {"web1": room("a" * 64)}}))
    [context] = made.contexts
    assert (context.artifact, context.notes.digests) == ("a" * 64, {"2.0": "a" * 64})


@pytest.mark.parametrize(
    "packages, warning",
    [
        (("six==1.0", "six==2.0"), "shop 2.0 is not the same on all nodes: six 1.0 on web1, 2.0 on web2."),
        (("six==1.0", "six==1.0"), None),
    ],
)
def test_packages_that_differ_between_nodes_are_warned_of(deploy, packages, warning):
    answers = {node: room(packages=[package]) for node, package in zip(("web1", "web2"), packages)}
    result, _ = deploy(minions=Minions(**{"app.room": answers}), releases={"web1": ["1.0"], "web2": ["2.0"]})
    assert result["outcome"] == "done" and len(result["warnings"]) == bool(warning)
    assert not warning or result["warnings"][0].startswith(warning)


def keeping_one():
    app = make_app()
    return replace(app, strategy=replace(app.strategy, keep_releases=1))


def test_releases_beyond_those_kept_are_removed_after_it(deploy):
    result, made = deploy(app=keeping_one(), instances=(), record=None, releases={"web1": ["0.8", "0.9"]})
    assert result["outcome"] == "done"
    assert made.minions.jobs[-1] == ("deploy.prune", "shop", {"web1": ("0.8", "0.9")})


def test_old_releases_that_cannot_be_removed_are_no_failure(deploy):
    full = Minions(**{"deploy.prune": {"web1": Reply("web1", None, "read-only file system")}})
    result, _ = deploy(app=keeping_one(), instances=(), record=None, releases={"web1": ["0.8"]}, minions=full)
    assert (result["outcome"], result["warnings"]) == (
        "done",
        ["old releases were not removed, see deploy.prune: prune on web1: read-only file system"],
    )


def test_a_frozen_deployment_is_frozen_no_more_although_no_instance_changes(deploy):
    result, _ = deploy(instances=(NEW,), record={**AFTER, "frozen": FROZEN}, releases={"web1": ["2.0"]})
    assert (result["changed"], result["outcome"]) == (True, "done")


def test_where_everything_is_as_desired_nothing_changes(deploy):
    result, _ = deploy(instances=(NEW,), record=AFTER, releases={"web1": ["2.0"]})
    assert (result["changed"], result["outcome"]) == (False, "done")
    assert result["verdict"].startswith("shop 2.0 was already published, nothing was done in e: ")


def test_a_hook_whose_end_is_not_known_stops_the_decision(deploy):
    hook = Hook("migrate", once=True)
    app = replace(make_app(), hooks={"before_start": (hook,)})
    mark = {"state": "started", "phase": "before_start", "command": "migrate", "node": "web1", "deployment": "d0"}
    keys = {"deploy/e/shop/hooks/2.0/before_start-aaa": {**mark, "owner": "ann", "time": 1.0}}
    with pytest.raises(Refused, match="^before_start `migrate` of shop 2.0 must run once, and it was started"):
        deploy(app=app, keys=keys)
