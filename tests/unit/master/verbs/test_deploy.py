"""A deployment that waits out its pause goes on by itself, or back."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DONE, NOT_REVERTED, REVERTED
from saltdeploy.master.verbs import abort, deploy, promote
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import make_app
from tests.support.verbs import PAUSED


@pytest.mark.parametrize(
    "promoted, aborted, code",
    [
        (DONE, None, DONE),
        (NOT_REVERTED, None, NOT_REVERTED),
        (REVERTED, DONE, REVERTED),
        (REVERTED, REVERTED, NOT_REVERTED),
    ],
)
def test_a_pause_for_a_time_that_cannot_be_gone_on_from_is_gone_back_from(monkeypatch, promoted, aborted, code):
    """…all the way: nobody is there to say how to go on."""
    record = {**PAUSED, "nodes": {"web1": ["shop_2.0_100"]}}
    backend = SimpleNamespace(wait=lambda *args, **kwargs: False, read=lambda key: (record, 0, ""))
    monkeypatch.setattr(deploy.discovery, "connect", lambda config: contextlib.nullcontext(backend))
    reasons, why = [], "test on web2: no\nits last lines:\nno database"
    monkeypatch.setattr(deploy, "_measure", lambda *args: "")
    monkeypatch.setattr(promote, "run", lambda *args: {"retcode": promoted, "why": why})
    monkeypatch.setattr(abort, "run", lambda *args: reasons.append(args[-1]) or {"retcode": aborted})
    environment, result = SimpleNamespace(name="e", discovery={}), {"record": record, "reason": "", "retcode": DONE}
    assert deploy._wait_out(Session({}), environment, make_app(), result)["retcode"] == code
    assert reasons == ([] if aborted is None else ["after the pause, test on web2: no"])
