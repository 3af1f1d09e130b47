"""A deployment that pauses after its first wave: then it goes on, or back."""

from __future__ import annotations

import pytest

from tests.support.target import NAME

pytestmark = pytest.mark.usefixtures("users")


def test_it_waits_for_somebody_and_goes_on(target, users, releases):
    before, new = releases
    target.define(strategy={"pause": "manual"})
    output = target.deploy(new, "reason=a canary")
    assert "pause: the rest waits, and nothing old is retired" in output
    assert (
        f"{NAME} {new} is paused after its first wave" in output
        and "deploy.promote shop env=site, or salt-run deploy.abort shop env=site" in output
    )
    paused = target.traces()
    assert paused.versions == sorted([new, before, before, before]) and paused.clean
    assert users.wait_for(new, 20)
    output = target.run("status")
    assert "is paused after its first wave" in output and "reason: a canary" in output

    # Whoever forgets that it is paused is told, and changes nothing.
    for function, args in (("app", (f"version='{new}'",)), ("scale", ("instances=2",)), ("check", ())):
        assert "is paused after its first wave" in target.run(function, *args, code=3)
    assert target.traces() == paused

    output = target.run("promote")
    assert f"{NAME} {new} is published in site: 3 instances of {new}" in output
    assert target.traces().versions == [new] * 3
    assert "no deployment of shop is paused" in target.run("promote", code=3)


def test_it_goes_back_and_that_release_is_none_to_roll_back_to(target, releases):
    before, new = releases
    old = target.traces().published
    target.archives.make("canary")
    target.define(strategy={"pause": "manual"})
    target.deploy("canary")
    output = target.run("abort", "reason=no good")
    assert f"{NAME} canary is taken back in site: 3 instances of {before}" in output
    assert "start " not in output and target.traces().published == old
    assert "nothing of shop is paused in site, and no candidate waits" in target.run("abort", code=3)
    target.define()
    target.deploy(new)
    assert f"back from {NAME} {new} to {before}" in target.run("rollback", "test=True")


@pytest.mark.thorough
def test_a_highstate_leaves_the_canary_alone(target, releases):
    target.define(strategy={"pause": "manual"})
    target.deploy(releases[1])
    paused = target.traces()
    code, output = target.cli.run("salt", "*", "state.apply")
    assert code == 0 and "Changes:   \n  " not in output, output
    assert target.traces() == paused
    target.run("abort")


def test_it_waits_for_a_time_and_goes_on_by_itself(target, users, releases):
    target.define(strategy={"pause": "3s"})
    run = target.start(releases[1]).until("paused for 3s")
    output = run.end(0)
    assert f"{NAME} {releases[1]} is published in site: 3 instances" in output
    assert target.traces().versions == [releases[1]] * 3


def test_it_goes_back_by_itself_if_the_canary_does_not_stay_healthy(target, minions, releases):
    before, new = releases
    target.define(strategy={"pause": "60s"})
    run = target.start(new).until("paused for 60s")
    [(node, instance)] = [key for key, (_, _, version) in target.traces().published.items() if version == new]
    code, output = target.cli.run("salt", node, "app.stop", NAME, f"['{instance}']")
    assert code == 0, output
    output = run.end(1)
    assert f"{NAME} {new} is taken back in site: 3 instances of {before}" in output
    assert "it did not stay healthy while it was paused" in target.cli.deploy("history", NAME, "limit=1")[1]


def test_another_release_takes_its_place_where_that_is_said(target, releases):
    before, new = releases
    target.archives.make("first")
    target.define(strategy={"pause": "manual", "when_paused": "supersede"})
    target.deploy("first")
    target.deploy(new)
    assert target.traces().versions == sorted([new, "first", before, before, before])
    assert f"is taken back in site: 3 instances of {before}" in target.run("abort")


@pytest.mark.thorough
def test_a_run_that_is_killed_before_it_says_so_pauses_when_it_is_run_again(target, releases):
    """…and knows the way back still."""
    before, new = releases
    old = target.traces().published
    target.define(strategy={"waves": ["100%"], "pause": "manual"})
    steps, killed = target.killed(new, "write current")
    assert killed and steps[-1] == "write current"
    output = target.deploy(before)
    assert "start " not in output and "pause" not in output and target.traces().published == old

    assert target.killed(new, "write current")[1]
    output = target.deploy(new)
    assert f"{NAME} {new} is paused after its first wave" in output and "start " not in output
    assert target.traces().versions == sorted([before, new] * 3)
    assert f"is taken back in site: 3 instances of {before}" in target.run("abort")
    assert target.traces().published == old


def test_the_way_back_from_a_pause_on_some_nodes_leaves_the_others_alone(target, releases):
    before, new = releases
    old = target.traces().published
    target.define(strategy={"pause": "manual", "when_paused": "supersede"})
    target.deploy(new, "nodes=web1", "instances=1")
    assert target.traces().versions == sorted([before] * 3 + [new])
    assert "is paused after its first wave" in target.run("scale", "instances=4", code=3)
    assert f"is taken back in site: 3 instances of {before}" in target.run("abort")
    assert target.traces().published == old


def test_candidates_that_wait_are_stopped(target, releases):
    before = target.traces()
    target.deploy(releases[1], "publish=False")
    assert len(target.traces().candidates) == 3
    assert f"the candidates of {NAME} are stopped in site: 3 instances" in target.run("abort")
    assert target.traces() == before
