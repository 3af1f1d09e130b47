"""A withdrawal reports a failure half way."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import INTERRUPTS, NOT_REVERTED, DiscoveryUnavailable
from saltdeploy.master.journal import Journal
from saltdeploy.master.remote.jobs import Jobs
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.verbs import withdraw

from tests.support.fleet import instance, make_app


@pytest.mark.parametrize("fault", [DiscoveryUnavailable("no leader"), *(interrupt() for interrupt in INTERRUPTS)])
def test_a_withdrawal_whose_record_could_not_be_written_is_told(fault):
    """Nobody can tell whether it was: it is no refusal."""

    def write(entries):
        raise fault

    record = {"version": "1.0", "nodes": {"web1": ["shop_1.0_100"]}}
    site = SimpleNamespace(record=lambda: record, prefix="deploy/e/shop/", app=make_app())
    lock = SimpleNamespace(write=write)
    ending = withdraw.act(Jobs(None, Journal()), site, [instance("web1")], lock, Identity("d1", "ann"))
    assert (ending.code, ending.record) == (NOT_REVERTED, record)
    assert ending.why in ("no leader", "it was interrupted")
