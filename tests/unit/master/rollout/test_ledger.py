"""The record during a deployment."""

from types import SimpleNamespace

import pytest
from saltdeploy.master.rollout.ledger import Ledger


@pytest.mark.parametrize(
    "runs, release",
    [
        ({"web1": ["shop_1.0_80"], "web2": ["shop_2.0_81"]}, "2.0"),
        # The old one was brought back: it is what serves, whatever was to be.
        ({"web1": ["shop_1.0_80"], "web2": []}, "1.0"),
        ({"web1": ["shop_1.0_80", "shop_0.9_81"], "web2": ["shop_1.0_80"]}, "1.0"),
        ({}, "2.0"),
    ],
)
def test_the_recorded_release_is_the_one_that_serves(runs, release):
    context = SimpleNamespace(desired=SimpleNamespace(version="2.0"), answering=(), observed=(), serving=())
    ledger = Ledger(context, None)
    ledger.runs = runs
    assert ledger._release() == release
