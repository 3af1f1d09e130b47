"""The call of a verb: its operator, its warnings, its names, and what is known of the nodes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import Environment, Source
from saltdeploy.master.verbs import session
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import make_app, observe
from tests.support.verbs import Foreign, call, site_with


@pytest.mark.parametrize("acts, told", [(True, ["hangs"]), (False, ["hangs", "the login in source:token_file"])])
def test_a_run_is_told_what_may_lose_requests_and_a_plan_everything(acts, told):
    made, app = Session({}), make_app()
    source = Source("archive", "http://files/shop.tar", sha256="0" * 64, token_file="/t")
    app = replace(app, source=source, strategy=replace(app.strategy, min_healthy_time=0.3))
    made.advise(SimpleNamespace(app=app, environment=Environment("e", {}, {})), acts)
    assert len(made.journal.warnings) == len(told)
    assert all(part in warning for part, warning in zip(told, made.journal.warnings))


@pytest.mark.parametrize("name", ["Shop", "shop_"])
def test_a_name_that_cannot_be_one_is_told_the_similar_name(name):
    found = Environment("e", {}, {"shop": make_app()})
    with pytest.raises(Refused, match=r"did you mean `shop`"):
        call(_environment_of=lambda *args: (found, name)).defined_or_not(name, None)


@pytest.mark.parametrize(
    "user, sudo, name",
    [
        ("ann", None, "ann"),  # of salt-api
        ("sudo_ann", "ann", "ann"),
        ("UNKNOWN", "ann", "ann"),
        (None, "ann", "ann"),
        (None, None, "process"),
    ],
)
def test_who_did_it_is_whom_salt_has_authenticated(monkeypatch, user, sudo, name):
    monkeypatch.setattr(session.getpass, "getuser", lambda: "process")
    monkeypatch.setattr(session.os, "environ", {"SUDO_USER": sudo} if sudo else {})
    assert Session({}, user=user).owner.partition("@")[0] == name


def test_data_that_the_record_has_and_a_node_has_not_is_lost(monkeypatch):
    """A node that does not answer may have it."""
    backend = Foreign()
    backend.record["data"], backend.record["nodes"] = ["web1", "web2", "web3"], {"web4": ["shop_1.0_100"]}
    here = site_with(backend)
    here.answering = here.observed = ["web1", "web2"]
    monkeypatch.setattr(session.preflight, "observe", lambda *args: observe(data={"web2": "/data"}))
    seen = Session({}).observe(here)
    assert seen.lost == {"web1"} and seen.data == {"web2": "/data", "web3": "", "web4": ""}
