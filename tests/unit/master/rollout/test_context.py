"""The facts that a deployment begins with."""

from __future__ import annotations

from dataclasses import replace

from saltdeploy.core.environment import Environment
from saltdeploy.core.model import Probe
from saltdeploy.master.rollout.context import Context, Identity, Notes, Progress
from saltdeploy.planning.model import Desired

from tests.support.fleet import NEW, instance, make_app

APP = replace(make_app(), tests=(Probe("tcp", ""),))


def context(serving=(), **options):
    desired = Desired(APP, NEW, 1, ("web1",), **options)
    return Context(None, None, Environment("test", {}, {}), desired, (), (), None, Identity("d", "me"), serving)


def test_the_app_has_its_tests_unless_the_deployment_leaves_them_out():
    assert context().app is APP
    assert context(tests=False).app == replace(APP, tests=())


def test_the_strategy_and_the_keys_are_those_of_the_app():
    for found in (context(), context(tests=False)):
        assert found.strategy is APP.strategy
        assert found.prefix == "deploy/test/shop/"


def test_an_instance_that_serves_and_is_not_healthy_is_sick():
    there = [instance("web1"), instance("web2", healthy=False), instance("web1", slot=101, healthy=False)]
    assert context(there).sick == {("web2", "shop_1.0_100"), ("web1", "shop_1.0_101")}
    assert context().sick == frozenset()


def test_each_deployment_begins_with_no_changes_of_its_own():
    first, second = Progress(), Progress()
    first.started_on["web1"] = 1
    first.published.append(instance("web1"))
    first.replaced.append({"web1": ["shop_1.0_100"]})
    assert second == Progress() and not second.started_on
    assert context().notes == Notes() and context().artifact == ""
