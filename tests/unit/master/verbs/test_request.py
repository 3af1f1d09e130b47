"""A signed request deploys, and everything else that an event may say is refused."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.conditions import Conditions
from saltdeploy.core.errors import Refused
from saltdeploy.master.verbs import request

from tests.support.verbs import Catalog

KEY = "k" * 32
TAG = "deploy/request/e/shop"
# The tests of a whole run may take minutes, and the events are made before the first.
NOW = time.time()


def signed(key=KEY, text=None, **changes):
    """Return the data of an event."""
    about = {"environment": "e", "app": "shop", "version": "2.0", "reason": "build", "time": NOW, **changes}
    text = json.dumps(about) if text is None else text
    return {"request": text, "signature": hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()}


@pytest.fixture
def requested(here, tmp_path, monkeypatch):
    """Run a request with this key on the master; return the arguments that deploy.app gets."""
    catalog = Catalog()

    def of(data, tag=TAG, key=KEY):
        path = tmp_path / "key"
        path.write_text(f"{key}\n")
        made = here()
        monkeypatch.setattr(request.discovery, "connect", lambda config: catalog)
        monkeypatch.setattr(request, "time", SimpleNamespace(time=lambda: NOW))
        conditions = Conditions(request_key_file=str(path) if key else "")
        made.session.environment = lambda env: replace(made.environment, conditions=conditions)
        monkeypatch.setattr(request.deploy, "run", lambda session, *args: args)
        return request.run(made.session, tag, data)

    return of


def test_a_signed_request_deploys(requested):
    args = ("shop", "e", "2.0", None, None, True, False, False, "build", False)
    assert requested(signed(wait="5m")) == (*args, "5m")
    # As an event of a minion has it.
    assert requested({"data": signed(time=NOW + 1), "id": "web1", "tag": TAG}) == (*args, 0)
    now = json.dumps({"environment": "e", "app": "shop", "time": NOW + 20})
    assert requested(signed(text=now))[2] is None


def test_a_request_counts_once_and_none_after_a_later_one(requested):
    first, second = signed(time=NOW - 2), signed(time=NOW - 1)
    assert requested(second)
    for again in (second, first):
        with pytest.raises(Refused, match="the request was taken before, or one with a later time was"):
            requested(again)
    assert requested(signed())


@pytest.mark.parametrize(
    "event, said",
    [
        ({"data": signed(key="x" * 32)}, "the signature of the request is wrong"),
        ({"data": {**signed(), "signature": "é\ud800"}}, "the signature of the request is wrong"),
        ({"data": {**signed(), "request": "{}"}}, "the signature of the request is wrong"),
        ({"data": {**signed(), "request": "\ud800"}}, "the signature of the request is wrong"),
        ({"data": {"request": signed()["request"]}}, "no `request` and `signature`"),
        ({"data": signed(reason="x" * 5000)}, "of more than 4096 characters"),
        ({"data": ["request", "signature"]}, "no `request` and `signature`"),
        ({"data": {"data": "text"}}, "no `request` and `signature`"),
        ({"data": None}, "no `request` and `signature`"),
        ({"data": signed(text="[]")}, "the request has other keys than"),
        ({"data": signed(text="[" * 4000)}, "the request has other keys than"),
        ({"data": signed(force=True)}, "the request has other keys than app, environment, reason, time, version, wait"),
        ({"data": signed(text='{"environment": "e", "app": "shop"}')}, "or lacks one of app, environment, time"),
        ({"data": signed(environment="production")}, "is for another app or environment than its tag"),
        ({"data": signed(app="till")}, "is for another app or environment than its tag"),
        ({"data": signed(time=NOW - 400)}, "is not of the last 5 minutes"),
        ({"data": signed(time=NOW + 400)}, "is not of the last 5 minutes"),
        ({"data": signed(time="now")}, "is not of the last 5 minutes"),
        ({"data": signed(time=10**400)}, "is not of the last 5 minutes"),
        ({"data": signed(time=True)}, "is not of the last 5 minutes"),
        ({"data": signed(text=json.dumps({"environment": "e", "app": "shop", "time": float("nan")}))}, "is not of the"),
        ({"data": signed(reason=["x"])}, "reason="),
        ({"data": signed(), "tag": "deploy/request/e/shop,till"}, "deploy/request/ENVIRONMENT/APP is allowed"),
        ({"data": signed(), "tag": ["x"]}, "deploy/request/ENVIRONMENT/APP is allowed"),
        ({"data": signed(), "key": ""}, "no event may deploy to e: see environments:e:request_key_file."),
        ({"data": signed(key="short"), "key": "short"}, "has fewer than 32 characters"),
    ],
)
def test_another_is_refused(requested, event, said):
    with pytest.raises(Refused) as refused:
        requested(**event)
    assert said in str(refused.value) and KEY not in str(refused.value), str(refused.value)
