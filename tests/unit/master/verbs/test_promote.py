"""What a promotion continues: the deployment that is paused still, on the nodes that were chosen for it."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.master.verbs import promote, task

from tests.support.fleet import instance, make_app, observe
from tests.support.verbs import ABOUT, PAUSED, call, recorded


@pytest.mark.parametrize("record", [{"version": "1.0", "nodes": {}}, {}, {**PAUSED, "paused": {"since": 1}}])
def test_a_pause_that_somebody_ended_before_the_lock_was_had_is_not_promoted(record, monkeypatch):
    """Else what was taken back would go to all users."""
    here = SimpleNamespace(record=lambda: record, nodes=("web1",))
    made = call(
        definitions=lambda name, env: (Environment("e", {}, {}), make_app()),
        site=lambda *args, **kwargs: contextlib.nullcontext(here),
        marked=lambda environment: set(),
    )
    monkeypatch.setattr(promote, "paused_release", lambda environment, app: ("2.0", PAUSED["paused"]))
    monkeypatch.setattr(task, "carry_out", lambda session, site, verb, decide, reason, test: decide(observe()))
    with pytest.raises(Refused, match="somebody went on with shop meanwhile: see salt-run deploy.status shop env=e"):
        promote.run(made, "shop", None, False, None)


@pytest.mark.parametrize(
    "nodes, away, chosen",
    [
        (["web2", "web1"], set(), None),
        (["web1"], set(), ["web1"]),
        # All nodes that are in use were all nodes, when it paused and now.
        (["web1"], {"web2"}, None),
        (["web2", "web1"], {"web2"}, None),
    ],
)
def test_who_paused_on_all_nodes_is_told_of_others_that_serve_when_it_goes_on(nodes, away, chosen, monkeypatch):
    seen = []
    environment = Environment("e", {n: Node(n, n, ("app",)) for n in ("web1", "web2")}, {})
    made = call(
        definitions=lambda *args: (environment, make_app()),
        marked=lambda environment: away,
        site=lambda _environment, _app, nodes, **options: (
            seen.append(nodes) or contextlib.nullcontext(SimpleNamespace())
        ),
    )
    monkeypatch.setattr(promote, "paused_release", lambda *args: ("1.0", {"nodes": nodes, "instances": 2}))
    monkeypatch.setattr(task, "carry_out", lambda *args: {})
    assert (promote.run(made, "shop", None, False, None), seen) == ({}, [chosen])


@pytest.mark.parametrize("record", [None, recorded("1.0", {"web1": ["shop_1.0_100"]})])
def test_without_a_paused_deployment_there_is_nothing_to_promote(here, record):
    with pytest.raises(Refused) as refused:
        promote.run(here(record=record).session, "shop", None, False, None)
    assert str(refused.value) == ("no deployment of shop is paused in e: see salt-run deploy.status shop env=e")


def test_the_rest_of_a_paused_deployment_is_what_it_was_to_be(here):
    """The instances and the nodes are those of the operator who paused it."""
    old, new = instance("web1"), instance("web2", "2.0")
    paused = {**ABOUT, "nodes": ["web1", "web2"], "instances": 2}
    record = recorded("2.0", {"web1": [old.id], "web2": [new.id]}, paused=paused)
    made = here(old, new, record=record, releases={"web1": ["1.0", "2.0"], "web2": ["2.0"]})
    result = promote.run(made.session, "shop", None, True, None)
    assert (result["version"], result["plan"]) == (
        "2.0",
        ["wave 1: start, test and publish 1 on web1", f"wave 1: retire {old.id} on web1"],
    )


@pytest.mark.parametrize("differs", [None, {}, {"env": ["LEVEL"]}])
def test_the_rest_starts_with_the_settings_of_the_first_wave(here, differs):
    """A change meanwhile was shown to nobody, so that it is refused where a node would bring it in."""
    old, new = instance("web1", "2.0"), instance("web2", "2.0@1")
    record = recorded("2.0@1", {"web1": [old.id], "web2": [new.id]}, paused={**ABOUT, "from": "2.0", "instances": 2})
    record["paused"]["nodes"] = ["web1", "web2"]
    kept = {"web1": {"2.0": {}}, "web2": {"2.0@1": differs}}
    made = here(old, new, record=record, releases={"web1": ["2.0"], "web2": ["2.0"]}, editions=kept)
    if differs:
        with pytest.raises(
            Refused, match=r"changed since its first wave \(env: LEVEL\), and web1 would start what it says"
        ):
            promote.run(made.session, "shop", None, True, None)
    else:
        lines = promote.run(made.session, "shop", None, True, None)["plan"]
        assert ("settings of now" in lines[0]) == (differs is None)
        assert f"wave 1: retire {old.id} on web1" in lines
    assert made.compared == "2.0"
