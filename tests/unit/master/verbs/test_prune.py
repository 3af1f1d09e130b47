"""A prune: releases beyond those that an app keeps, and warm instances whose time is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import DONE, NOT_REVERTED
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import prune

from tests.support.fleet import instance, make_app
from tests.support.verbs import Minions, recorded

NEW = instance("web1", "2.0")
RECORD = recorded("2.0", {"web1": [NEW.id]})
WARM = instance("web1", "1.0", slot=101, published=False)
OVER = {**RECORD, "warm": {"until": 1.0, "nodes": {"web1": [WARM.id]}}}
MARK, KEPT_MARK = (f"deploy/e/shop/hooks/{version}/before_start-aaa" for version in ("1.0", "2.0"))


@pytest.fixture
def pruned(here):
    """Return ``call(*instances, test=False, …)`` of an app that keeps one release; it returns result and Here."""

    def call(*instances, test=False, **options):
        app = make_app()
        app = replace(app, strategy=replace(app.strategy, keep_releases=1))
        made = here(*instances, app=app, **{"record": RECORD, **options})
        return prune.run(made.session, "shop", None, test, None), made

    return call


def test_where_nothing_is_to_spare_nothing_is_done(pruned):
    result, made = pruned(NEW, releases={"web1": ["2.0"]})
    kept = "nothing to do: no node has a release to spare beyond the 1 kept"
    assert (result["changed"], result["plan"], made.minions.jobs) == (False, [kept], [])
    assert (result["retcode"], result["verdict"]) == (DONE, f"shop in e: {kept}")
    assert not made.catalog.keys(f"{made.prefix}history/"), "the history has changes only"


def test_old_releases_are_removed_with_the_marks_of_their_hooks(pruned):
    every = {"web1": ["1.0", "2.0"], "web2": [], "web3": []}
    result, made = pruned(NEW, releases=every, keys={MARK: "any", KEPT_MARK: "any"})
    assert (result["retcode"], result["verdict"]) == (DONE, "shop in e: removed 1.0 on web1")
    assert made.minions.jobs == [("deploy.prune", "shop", {"web1": ("1.0",)})]
    assert made.catalog.keys(f"{made.prefix}hooks/") == [KEPT_MARK]


def test_marks_stay_while_a_node_that_was_not_seen_may_have_the_release(pruned):
    _, made = pruned(NEW, releases={"web1": ["1.0", "2.0"]}, keys={MARK: "any"})
    assert made.catalog.keys(f"{made.prefix}hooks/") == [MARK]


def test_warm_instances_whose_time_is_over_are_retired_with_their_release(pruned):
    result, made = pruned(NEW, WARM, record=OVER, releases={"web1": ["1.0", "2.0"]})
    assert [job[0] for job in made.minions.jobs] == ["app.stop", "deploy.prune"]
    assert result["plan"] == [
        f"retire the warm instances whose time is over: {WARM.id} on web1",
        "remove the releases 1.0 on web1",
    ]
    assert result["verdict"] == f"shop in e: retired {WARM.id} on web1; removed 1.0 on web1"
    assert made.record() == RECORD


def test_warm_instances_stay_with_their_release_until_then(pruned):
    seen = {"releases": {"web1": ["1.0", "2.0"]}, "warm": frozenset({("web1", WARM.id)})}
    result, made = pruned(NEW, WARM, record=OVER, **seen)
    assert (result["changed"], made.minions.jobs, made.record()) == (False, [], OVER)


def test_a_dry_run_removes_nothing(pruned):
    result, made = pruned(NEW, WARM, record=OVER, releases={"web1": ["1.0", "2.0"]}, test=True)
    assert len(result["plan"]) == 2 and made.minions.jobs == [] and made.record() == OVER


def test_a_node_that_fails_is_named(pruned):
    full = Minions(**{"deploy.prune": {"web1": Reply("web1", None, "read-only file system")}})
    result, _ = pruned(NEW, releases={"web1": ["1.0", "2.0"]}, minions=full)
    assert (result["retcode"], result["verdict"]) == (
        NOT_REVERTED,
        "releases of shop in e were NOT all removed, repair and run it again: prune on web1: read-only file system",
    )
