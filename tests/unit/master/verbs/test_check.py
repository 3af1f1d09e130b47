"""A check warns of what the deployment would warn of."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core import records, traffic
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import Frontend, Webhook
from saltdeploy.master import preflight, verbs

from tests.support.fleet import make_app, observe
from tests.support.verbs import call


def test_a_check_warns_of_a_load_balancer_without_room_and_of_a_webhook_without_token(monkeypatch, tmp_path):
    """As the deployment does."""

    def end():
        raise Refused("far enough")

    app = replace(make_app(), frontend=Frontend(80))
    place = SimpleNamespace(
        nodes=("web1",),
        prefix="deploy/e/shop/",
        discovery=SimpleNamespace(read=lambda key: (None, 0, None), instances=lambda name, passing: []),
        not_paused=lambda: None,
        refuse_strangers=lambda observed: None,
        observed=None,
        record=lambda: {},
    )
    webhook = Webhook("https://chat.example.com/x", token_file=str(tmp_path / "token"))
    made = call(
        definitions=lambda name, env, **options: (SimpleNamespace(name="e", nodes={}, webhook=webhook), app),
        site=lambda *args, **kwargs: contextlib.nullcontext(place),
        observe=lambda site: replace(observe(), slots={"lb1": 3}),
        advise=lambda app: None,
    )
    monkeypatch.setattr(traffic, "refuse_unseen", lambda *args: None)
    monkeypatch.setattr(preflight, "refuse_unseen", lambda site: None)
    monkeypatch.setattr(records, "pauses", lambda *args: end())
    with pytest.raises(Refused, match="far enough"):
        verbs.check.run(made, "shop", None, "1.0", 2, None, False)
    room, token = made.journal.warnings
    assert token == (
        f"environments:e:notify:webhook:token_file {tmp_path}/token: No such file or directory, on the master. Without"
        " the token no event is sent to the webhook."
    )
    assert room.startswith("lb1 has 3 slots for shop, and two releases of 2 instances need 4")
