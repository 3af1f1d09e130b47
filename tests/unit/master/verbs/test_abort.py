"""An abort goes back to what served before the pause, or stops the candidates."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import abort, rollouttask, task
from saltdeploy.master.verbs.task import Task

from tests.support.fleet import held, instance, make_app, observe
from tests.support.verbs import ABOUT, PAUSED, call, recorded


@pytest.mark.parametrize("data", [True, False])
def test_an_abort_is_not_refused_where_the_new_release_has_written_data(data, monkeypatch):
    """Nor are instances of an app without data spread over all nodes then."""
    app = replace(make_app(), data=data)
    new, old = instance("web2", "2.0"), instance("web1", "1.0")
    plans, observed = [], observe(new, old, data={"web1": "/d", "web2": "/d"})
    here = SimpleNamespace(app=app, record=lambda: PAUSED, nodes=("web1", "web2"), tell_strangers=lambda observed: None)
    made = call(
        definitions=lambda name, env: (SimpleNamespace(name="e"), app),
        site=lambda *args, **kwargs: contextlib.nullcontext(here),
    )

    def decide(_session, _site, observed, desired, make, left):
        plans.append((desired.move, make(desired, observed)))
        return Task("1.0", [], True, None, None)

    monkeypatch.setattr(task, "carry_out", lambda session, site, verb, decide, *args: decide(observed))
    monkeypatch.setattr(rollouttask, "decide", decide)
    abort.run(made, "shop", None, False, None)
    [(move, made)] = plans
    assert move is data and made.waves[-1].retire == {"web2": (new.id,)} and not made.empty


def test_an_abort_is_refused_if_nobody_knows_what_served_before(here):
    """The first deployment of an app has nothing to go back to."""
    new = instance("web1", "2.0")
    made = here(new, record=recorded("2.0", {"web1": [new.id]}, paused={**ABOUT, "from": ""}))
    with pytest.raises(Refused) as refused:
        abort.run(made.session, "shop", None, False, None)
    assert str(refused.value) == (
        "the record does not say which release served before 2.0, so abort cannot go back."
        " Deploy the old release by its version: salt-run deploy.app shop version=… env=e"
    )


@pytest.mark.parametrize("record", [None, recorded("1.0", {"web1": ["shop_1.0_100"]})])
def test_without_a_pause_and_without_candidates_there_is_nothing_to_abort(here, record):
    made = here(*([instance("web1")] if record else []), record=record)
    with pytest.raises(Refused, match=r"^nothing of shop is paused in e, and no candidate waits\.$"):
        abort.run(made.session, "shop", None, False, None)


def test_without_a_pause_only_the_candidates_are_stopped(here):
    old, candidate = instance("web1"), held("web2")
    made = here(old, candidate, record=recorded("1.0", {"web1": [old.id]}))
    result = abort.run(made.session, "shop", None, False, None)
    assert made.minions.jobs == [("app.stop", "shop", {"web2": (candidate.id,)})]
    assert (result["retcode"], result["verdict"]) == (
        DONE,
        "the candidates of shop are stopped in e: 1 instance of 1.0 on web1",
    )


def test_an_abort_starts_what_was_lost_with_the_settings_that_it_had(here):
    """A node that has not kept them is named."""
    new = instance("web1", "2.0@4")
    paused = {**ABOUT, "from": "2.0@3", "before": 1}
    record = recorded("2.0@4", {"web1": [new.id]}, paused=paused)
    made = here(new, record=record, releases={"web1": ["2.0"]}, editions={"web1": {"2.0@4": None}})
    result = abort.run(made.session, "shop", None, True, None)
    assert result["version"] == "2.0@3" and result["plan"][0] == (
        "web1: shop starts with the settings of now, because those of 2.0 (settings 3) are not kept there"
    )
