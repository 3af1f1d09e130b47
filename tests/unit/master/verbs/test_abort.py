"""An abort goes back to what served before the pause, or stops the candidates."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.master.verbs import abort, rollouttask, task
from saltdeploy.master.verbs.task import Task

from tests.support.fleet import instance, make_app, observe
from tests.support.verbs import PAUSED, call


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
