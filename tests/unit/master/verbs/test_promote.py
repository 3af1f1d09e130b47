"""What a promotion continues: the deployment that is paused still, on the nodes that were chosen for it."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import Environment, Node
from saltdeploy.master.verbs import promote, task

from tests.support.fleet import make_app, observe
from tests.support.verbs import PAUSED, call, recorded


@pytest.mark.parametrize("record", [{"version": "1.0", "nodes": {}}, {}, {**PAUSED, "paused": {"since": 1}}])
def test_a_pause_that_somebody_ended_before_the_lock_was_had_is_not_promoted(record, monkeypatch):
    """Else what was taken back would go to all users."""
    here = SimpleNamespace(record=lambda: record, nodes=("web1",))
    made = call(
        definitions=lambda name, env: (Environment("e", {}, {}), make_app()),
        site=lambda *args, **kwargs: contextlib.nullcontext(here),
    )
    monkeypatch.setattr(promote, "paused_release", lambda environment, app: ("2.0", PAUSED["paused"]))
    monkeypatch.setattr(task, "carry_out", lambda session, site, verb, decide, reason, test: decide(observe()))
    with pytest.raises(Refused, match="somebody went on with shop meanwhile: see salt-run deploy.status shop env=e"):
        promote.run(made, "shop", None, False, None)


@pytest.mark.parametrize("nodes, chosen", [(["web2", "web1"], None), (["web1"], ["web1"])])
def test_who_paused_on_all_nodes_is_told_of_others_that_serve_when_it_goes_on(nodes, chosen, monkeypatch):
    seen = []
    environment = Environment("e", {n: Node(n, n, ("app",)) for n in ("web1", "web2")}, {})
    made = call(
        definitions=lambda *args: (environment, make_app()),
        site=lambda _environment, _app, nodes, choice: seen.append(nodes) or contextlib.nullcontext(None),
    )
    monkeypatch.setattr(promote, "paused_release", lambda *args: ("1.0", {"nodes": nodes, "instances": 2}))
    monkeypatch.setattr(task, "carry_out", lambda *args: {})
    assert (promote.run(made, "shop", None, False, None), seen) == ({}, [chosen])


@pytest.mark.parametrize("record", [None, recorded("1.0", {"web1": ["shop_1.0_100"]})])
def test_without_a_paused_deployment_there_is_nothing_to_promote(here, record):
    with pytest.raises(Refused) as refused:
        promote.run(here(record=record).session, "shop", None, False, None)
    assert str(refused.value) == ("no deployment of shop is paused in e: see salt-run deploy.status shop env=e")
