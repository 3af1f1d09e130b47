"""A check refuses and warns as the deployment would, and says what it has found in order."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core import records, traffic
from saltdeploy.core.environment import Webhook
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.core.model import Frontend, Hook
from saltdeploy.master import preflight, verbs

from tests.support.fleet import THREE, instance, make_app, observe
from tests.support.verbs import PAUSED, Minions, call, recorded


def test_a_check_warns_of_a_load_balancer_without_room_and_of_a_webhook_without_token(monkeypatch, tmp_path):
    """As the deployment does."""

    def end():
        raise Refused("far enough")

    app = replace(make_app(), frontend=Frontend(80))
    place = SimpleNamespace(
        app=app,
        nodes=("web1",),
        prefix="deploy/e/shop/",
        discovery=SimpleNamespace(read=lambda key: (None, 0, None), instances=lambda name, passing: []),
        not_paused=lambda: None,
        refuse_strangers=lambda observed: None,
        observed=None,
        record=lambda: {},
        editions=lambda: (),
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


OLD = instance("web1")
RECORD = recorded("1.0", {"web1": [OLD.id]})


def checked(here, room=None, **options):
    room = room or {"installed": False, "digest": "", "now": "", "packages": []}
    minions = Minions(**{"app.room": dict.fromkeys(THREE, room)})
    made = here(OLD, minions=minions, **{"record": RECORD, "releases": {"web1": ["1.0"]}, **options})
    return verbs.check.run(made.session, "shop", None, "2.0", 2, None, False)


def test_what_can_be_deployed_is_said_with_its_plan(here):
    result = checked(here)
    assert result["verdict"] == (
        "shop 2.0 can be deployed in e: its definition is valid, its nodes answer (web1, web2, web3), Consul has a"
        " leader, nobody deploys shop, and there is room for 2 instances and on the disks."
    )
    assert (result["retcode"], result["plan"][0]) == (DONE, "install shop 2.0 on web1, web2")


def test_a_run_that_has_the_lock_is_in_the_way(here):
    made = here(OLD, record=RECORD, keys={"deploy/e/shop/lock": {"owner": "bob@master", "deployment": "d7"}})
    made.catalog.holders["deploy/e/shop/lock"] = "bob's session"
    with pytest.raises(Refused, match=r"^shop is being deployed in e by bob@master \(deployment d7\)"):
        verbs.check.run(made.session, "shop", None, "2.0", 2, None, False)


def test_a_paused_deployment_is_in_the_way(here):
    with pytest.raises(Refused, match="^shop 2.0 is paused after its first wave"):
        checked(here, record=PAUSED)


def test_a_hook_whose_end_is_not_known_is_in_the_way(here):
    app = replace(make_app(), hooks={"before_start": (Hook("migrate", once=True),)})
    mark = {"state": "started", "phase": "before_start", "command": "migrate", "node": "web1", "deployment": "d0"}
    keys = {"deploy/e/shop/hooks/2.0/before_start-aaa": {**mark, "owner": "ann", "time": 1.0}}
    with pytest.raises(Refused, match="^before_start `migrate` of shop 2.0 must run once, and it was started"):
        checked(here, app=app, keys=keys)


def test_what_nodes_doubt_is_a_warning(here):
    room = {"installed": False, "digest": "", "now": "", "packages": [], "warnings": ["the disk is nearly full"]}
    assert checked(here, room)["warnings"] == ["web1, web2: the disk is nearly full"]


def test_other_settings_are_a_part_of_the_check(here):
    old = instance("web1", "2.0")
    room = {"installed": True, "digest": "", "now": "", "packages": []}
    minions = Minions(**{"app.room": dict.fromkeys(THREE, room)})
    record = recorded("2.0", {"web1": [old.id]})
    made = here(
        old, minions=minions, record=record, releases={"web1": ["2.0"]}, editions={"web1": {"2.0": {"run": []}}}
    )
    result = verbs.check.run(made.session, "shop", None, "2.0", 1, None, False)
    assert made.compared == "2.0" and result["actions"]["to"] == "2.0@1"
    assert result["plan"][0] == "the definition has other settings (run) than shop_2.0_100 on web1"
