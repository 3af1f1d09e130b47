"""Which instances the tests of an app run on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import DONE, REVERTED, Refused
from saltdeploy.core.model import Probe
from saltdeploy.master.verbs import test

from tests.support.fleet import held, instance, make_app
from tests.support.verbs import Minions

OLD, CANDIDATE, WARM = instance("web1"), held("web2"), instance("web3", "0.9", published=False)


@pytest.fixture
def tested(here):
    """Return ``call(*instances, version=None, ok=True)``, which returns the result and the tested instances."""

    def call(*instances, version=None, ok=True, **seen):
        told = {"test": "tcp", "ok": ok, "detail": "connection refused"}
        answers = {i.node: {i.id: [told]} for i in instances}
        app = replace(make_app(), tests=(Probe("tcp", ""),))
        made = here(*instances, app=app, minions=Minions(**{"app.test": answers}), **seen)
        result = test.run(made.session, "shop", None, version, None)
        [(_, _, ids)] = made.minions.jobs
        return result, ids

    return call


def test_candidates_come_before_what_is_published(tested):
    result, ids = tested(OLD, CANDIDATE)
    assert ids == {"web2": [CANDIDATE.id]}
    assert (result["verdict"], result["retcode"]) == (f"shop: 1 tests passed on {CANDIDATE.id} on web2", DONE)


def test_without_candidates_what_is_published_is_tested(tested):
    assert tested(OLD)[1] == {"web1": [OLD.id]}
    assert tested(OLD, CANDIDATE, version="1.0")[1] == {"web1": [OLD.id]}


def test_a_release_is_tested_with_any_settings(tested):
    numbered = instance("web1", "1.0@7")
    assert tested(numbered, CANDIDATE, version="1.0")[1] == {"web1": [numbered.id]}


def test_a_warm_instance_is_tested_only_if_its_release_is_named(tested):
    warm = frozenset({("web3", WARM.id)})
    assert tested(OLD, WARM, warm=warm)[1] == {"web1": [OLD.id]}
    assert tested(OLD, WARM, version="0.9", warm=warm)[1] == {"web3": [WARM.id]}


def test_a_test_that_does_not_pass_is_told(tested):
    result, _ = tested(OLD, ok=False)
    assert result["retcode"] == REVERTED
    assert result["verdict"].startswith("shop failed: test on web1: ") and "connection refused" in result["verdict"]


@pytest.mark.parametrize("version, which", [(None, "shop"), ("3.0", "shop 3.0")])
def test_where_nothing_runs_there_is_nothing_to_test(tested, version, which):
    stopped = replace(OLD, running=False)
    with pytest.raises(Refused, match=f"^no instance of {which} runs in e. Deploy it before you test it.$"):
        tested(stopped, version=version)
