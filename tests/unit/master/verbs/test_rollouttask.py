"""How a plan of instances is carried out."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from saltdeploy.core.model import Stop
from saltdeploy.master.journal import Journal
from saltdeploy.master.outcome import Ending, Outcome
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.verbs import rollouttask
from saltdeploy.planning.model import Desired, Plan

from tests.support.fleet import make_app, observe


def test_a_deployment_has_the_longest_time_to_stop_of_all_that_is_there(monkeypatch):
    desired = Desired(make_app(), "2.0", 1, ("web1",))
    there, seen = replace(make_app(), stop=Stop("TERM", 600.0)), []

    def deployment(context, before, plan):
        seen.append(context.desired)
        return SimpleNamespace(run=lambda: None, ledger=SimpleNamespace(record={}))

    monkeypatch.setattr(rollouttask, "Deployment", deployment)
    site = SimpleNamespace(app=there, record=dict, fleet=None, discovery=None, environment=None)
    site.answering, site.observed, site.tolerated = ["web1"], ["web1"], frozenset()
    ending = rollouttask._act(
        Journal(), site, observe(), desired, Plan({}, (), (), True), None, Identity("d1", "ann"), ""
    )
    assert ending == Ending(Outcome.DONE, {})
    assert seen[0].app.stop.timeout == 600.0
