"""What holds for all verbs of the runner: whose nodes may be left out, and which apps are started."""

from __future__ import annotations

import pytest
from saltdeploy.core.environment import Environment
from saltdeploy.core.errors import Refused
from saltdeploy.master import verbs
from saltdeploy.master.verbs import promote

from tests.support.fleet import make_app
from tests.support.verbs import PAUSED, arguments_of, call


@pytest.mark.parametrize(
    "verb", ["deploy", "check", "test", "publish", "withdraw", "promote", "abort", "rollback", "scale"]
)
def test_nodes_are_to_be_left_out_only_where_they_can_be_named(verb, monkeypatch):
    """Of a node that does not answer."""
    asked, verb = [], getattr(verbs, verb)

    def site_of(environment, app, nodes=None, choice=True, back=False, presumed=(), places=True, skips=True):
        asked.append(choice)
        raise Refused("web1 does not answer")

    made = call(definitions=lambda name, env, **options: (Environment("e", {}, {}), make_app()), site=site_of)
    made.marked = lambda environment: set()
    monkeypatch.setattr(promote, "paused_release", lambda environment, app: ("2.0", PAUSED["paused"]))
    with pytest.raises(Refused, match="does not answer"):
        verb.run(made, **arguments_of(verb))
    assert asked == ["nodes" in arguments_of(verb)]


@pytest.mark.parametrize(
    "verb, refused",
    [
        *((verb, True) for verb in ("deploy", "check", "publish", "scale")),
        *((verb, False) for verb in ("promote", "abort", "rollback", "restart", "withdraw", "prune", "test")),
    ],
)
def test_an_app_that_clashes_with_another_is_not_started_and_can_be_operated(verb, refused, monkeypatch):
    """Somebody may have added the other app, with a port that is taken, while this one serves."""
    verb, reached = getattr(verbs, verb), Refused("the site was reached")
    environment = Environment("e", {}, {"shop": make_app()}, clashing={"shop": "80 is the port of till, too."})

    def reach(*args, **kwargs):
        raise reached

    made = call(_environment_of=lambda *args: (environment, "shop"), site=reach, whole_site=reach)
    monkeypatch.setattr(promote, "paused_release", reach)
    with pytest.raises(Refused) as caught:
        verb.run(made, **arguments_of(verb))
    assert (str(caught.value), made.journal.warnings) == (
        (environment.clashing["shop"], []) if refused else (str(reached), [environment.clashing["shop"]])
    )
