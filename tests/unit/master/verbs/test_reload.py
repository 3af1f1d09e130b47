"""A reload: of which instances, and that clients use them meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.core.model import Reload
from saltdeploy.master.verbs import reload as verb

from tests.support.fleet import instance
from tests.support.verbs import Minions, recorded


def test_an_app_that_does_not_say_how_is_refused(here):
    one = instance("web1")
    made = here(one, record=recorded("1.0", {"web1": [one.id]}))
    with pytest.raises(Refused) as refused:
        verb.run(made.session, "shop", None, False, None)
    assert str(refused.value) == (
        "apps:shop:reload: is missing, so nobody knows how shop reads its files again. Write `reload: {signal: HUP}`,"
        " for example, or restart it: salt-run deploy.restart shop env=e"
    )


def test_the_only_instance_needs_no_confirmation(here):
    """Clients use it meanwhile."""
    one = instance("web1")
    answers = {"app.reload": {"web1": [one.id]}, "app.crashed": {"web1": {}}}
    made = here(one, record=recorded("1.0", {"web1": [one.id]}), minions=Minions(**answers))
    environment, app = made.session.definitions("shop", None)
    made.session.definitions = lambda name, env: (environment, replace(app, reload=Reload("HUP")))
    result = verb.run(made.session, "shop", None, False, None)
    assert result["plan"] == [f"wave 1: reload {one.id} on web1"] and result["retcode"] == DONE
    assert result["verdict"] == "shop 1.0 was reloaded in e: 1 instance of 1.0 on web1"
    assert made.minions.jobs[0] == ("app.reload", "shop", {"web1": [one.id]})


def test_where_nothing_is_published_there_is_nothing_to_reload(here):
    made = here(instance("web1", published=False), record=recorded("1.0", {}))
    environment, app = made.session.definitions("shop", None)
    made.session.definitions = lambda name, env: (environment, replace(app, reload=Reload("HUP")))
    with pytest.raises(Refused, match="^nothing of shop is published in e: nothing to reload"):
        verb.run(made.session, "shop", None, False, None)
