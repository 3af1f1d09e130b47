"""What of the traffic a paused release gets, as discovery has it: a share, or none at all."""

from __future__ import annotations

import pytest
from saltdeploy.model import NORMAL_WEIGHT

from tests.support.target import NAME

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
    target.define(strategy={"pause": "manual", "canary": "10%"})
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
    assert "nothing to do: what is desired is what is there" in target.deploy(new)


def test_a_canary_that_no_user_gets_until_it_is_promoted(target, users, releases):
    before, new = releases
    target.define(strategy={"pause": "manual", "canary": "candidate"})
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
