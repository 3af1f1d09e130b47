"""What of the traffic a paused release gets, as discovery has it: a share, or none at all."""

from __future__ import annotations

import pytest
from saltdeploy.core.model import NORMAL_WEIGHT

from tests.support.target import NAME
from tests.support.watch import watch

pytestmark = pytest.mark.usefixtures("users")


def weights(target):
    """Return the SRV weights of what is published: ``[(release, weight), …]``."""
    found = target.ask(f"/v1/health/service/{NAME}?passing&consistent")
    return sorted((e["Service"]["Meta"]["version"], e["Service"]["Weights"]["Passing"]) for e in found)


def share(target, version):
    """Return the part of the traffic that ``version`` gets by weights, in percent."""
    found = weights(target)
    return 100 * sum(w for v, w in found if v == version) / sum(w for _, w in found)


def test_a_canary_gets_its_share_until_it_is_promoted(target, releases, minions):
    before, new = releases
    target.define(strategy={"pause": "manual", "canary_weight": "10%"})
    output = target.deploy(new)
    assert "with 10% of the traffic" in output
    assert len(weights(target)) == 4 and share(target, new) == pytest.approx(10, abs=1)
    assert {w for v, w in weights(target) if v == before} == {NORMAL_WEIGHT}
    assert f"{new} gets 9.9% of the traffic, by weights" in target.run("status")

    # What has another weight than the record says is seen, and highstate puts it right; what has not, it leaves alone.
    paused, said = weights(target), target.traces()
    [(node, instance)] = [key for key, (_, _, version) in said.published.items() if version == new]
    target.call(node, "discovery.weigh", NAME, f"{{{instance}: {NORMAL_WEIGHT}}}")
    assert f"with weight {NORMAL_WEIGHT} and not {dict(paused)[new]}" in target.run("status")
    target.call("*", "state.apply")
    assert weights(target) == paused and target.traces() == said

    target.run("promote")
    assert weights(target) == [(new, NORMAL_WEIGHT)] * 3
    target.define()
    assert "no changes: the deployed instances are as defined" in target.deploy(new)


def test_who_takes_a_share_back_gives_the_old_ones_the_weights_they_had(target, releases):
    before, new = releases
    was, there = weights(target), target.traces()
    # So much that the old ones must be made light for it.
    target.define(strategy={"pause": "manual", "canary_weight": "90%"})
    assert "give other weights in discovery" in target.deploy(new)
    assert len(weights(target)) == 4 and share(target, new) == pytest.approx(90, abs=1)
    assert NORMAL_WEIGHT not in {w for v, w in weights(target) if v == before}

    output = target.run("abort", "reason=too slow")
    assert f"{NAME} {new} is taken back in site: 3 instances of {before}" in output and "start " not in output
    assert weights(target) == was == [(before, NORMAL_WEIGHT)] * 3
    after = target.traces()
    assert after.published == there.published and after.clean
    assert "paused" not in after.record and after.record["version"] == before
    output = target.run("status")
    assert "of the traffic" not in output and "with weight" not in output


def test_a_canary_that_no_user_gets_until_it_is_promoted(target, users, releases):
    before, new = releases
    target.define(strategy={"pause": "manual", "canary_weight": "none"})
    served, there = users.answered[new], target.traces()
    output = target.deploy(new)
    assert "as a candidate that no user gets" in output
    paused = target.traces()
    assert len(paused.candidates) == 1 and f"_{new}_" in next(iter(paused.candidates))[1]
    assert paused.published == there.published and weights(target) == [(before, NORMAL_WEIGHT)] * 3
    assert users.answered[new] == served

    output = target.run("promote")
    assert "wave 1: test again and publish" in output and f"3 instances of {new}" in output
    assert target.traces().candidates == set() and weights(target) == [(new, NORMAL_WEIGHT)] * 3


def test_a_canary_that_no_user_gets_while_it_waits_goes_on_by_itself(target, releases):
    before, new = releases
    target.define(strategy={"pause": "2s", "canary_weight": "none"})
    with watch(target.agents.url("web1"), NAME) as moments:
        output = target.start(new).until("paused for 2s").end(0)
    assert "wave 1: test again and publish" in output
    assert f"{NAME} {new} is published in site: 3 instances of {new}" in output
    assert weights(target) == [(new, NORMAL_WEIGHT)] * 3 and target.traces().clean

    promoted, paused = target.cli.result("history", NAME, "limit=2")["history"]
    assert (promoted["verb"], paused["verb"]) == ("promote", "deploy")
    [[waiting]] = paused["record"]["paused"]["candidates"].values()
    assert [waiting] in promoted["record"]["nodes"].values(), "what waited is what was published"
    during = [m for m in moments if m.time < promoted["began"]]
    assert during and all(set(m.published.values()) == {before} for m in during)
    assert set(moments[-1].published.values()) == {new}


def test_a_canary_that_no_user_gets_goes_back_by_itself_if_it_is_not_healthy(target, users, releases):
    before, there = releases[0], target.traces()
    # It passes its tests, and not the checks of Consul.
    sick = target.archives.make("unseen-sick", consul=503)
    target.define(strategy={"pause": "60s", "canary_weight": "none"})
    with watch(target.agents.url("web1"), NAME) as moments:
        output = target.deploy(sick, code=1)
    assert "paused for 60s" in output and "is published" not in output
    assert f"{NAME} {sick} is taken back in site: 3 instances of {before}" in output
    assert "it did not stay healthy while it was paused" in target.run("history", "limit=1")
    assert all(m.published.keys() == there.published.keys() for m in moments) and not users.answered[sick]
    after = target.traces()
    assert after.published == there.published and after.clean and "paused" not in after.record


def test_a_canary_that_no_user_gets_goes_back_by_itself_if_it_fails_when_it_is_tested_again(target, releases):
    before, new = releases
    there = target.traces()
    only_once = [{"command": "mkdir {instance}/tested"}]
    target.define(app={"tests": only_once}, strategy={"pause": "1s", "canary_weight": "none"})
    output = target.deploy(new, code=1)
    assert "paused for 1s" in output and "wave 1: test again and publish" in output
    assert f"{NAME} {new} is taken back in site: 3 instances of {before}" in output
    assert "after the pause, test on web" in target.run("history", "limit=1")
    after = target.traces()
    assert after.published == there.published and after.clean and "paused" not in after.record
