"""The part of the health agent that writes to etcd."""

from __future__ import annotations

import base64

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed
from saltdeploy.discovery import skydnsrecords
from saltdeploy.discovery.etcd import NoRight
from saltdeploy.health.keeper import Keeper
from saltdeploy.health.registry import Registry
from saltdeploy.health.settings import Settings

PLACE = skydnsrecords.Place("skydns.local", "site")


class Etcd:
    """An etcd that has no right to some services, and may not answer."""

    def __init__(self):
        self.keys, self.forbidden, self.is_down, self.transactions = {}, set(), False, 0

    def grant(self, seconds):
        return 7

    def keep_alive(self, lease):
        return True

    def ranges(self, *asked):
        return 1, [[], [], []]

    def transact(self, compare, success, what):
        self.transactions += 1
        if self.is_down:
            raise DiscoveryUnavailable("etcd has no leader")
        found = {}
        for part in success:
            [(kind, request)] = part.items()
            key = base64.b64decode(request["key"]).decode()
            found[key] = base64.b64decode(request.get("value", "")).decode() if kind == "request_put" else None
        if any(f"/{service}/" in key for service in self.forbidden for key in found):
            raise NoRight(f"etcd refuses to {what}")
        self.keys.update(found)
        return True


@pytest.fixture
def etcd():
    return Etcd()


@pytest.fixture
def registry(tmp_path):
    return Registry("web1", tmp_path / "services")


@pytest.fixture
def keeper(etcd, registry, tmp_path, monkeypatch):
    keeper = Keeper(Settings("web1", ("http://127.0.0.1:9",), PLACE, tmp_path), registry)
    keeper._etcd = etcd
    # There is nothing to compare with.
    monkeypatch.setattr(keeper, "_compare", lambda: None)
    return keeper


def body(name, ident):
    return {"ID": ident, "Name": name, "Address": "127.0.0.1", "Port": 80}


def texts(etcd, service):
    """Return the entry and the record of the only instance of a service."""
    keys = (PLACE.entry(service, "web1", f"{service}_1"), PLACE.record(service, "web1", f"{service}_1"))
    return [bool(etcd.keys.get(key)) for key in keys]


def test_a_service_that_etcd_refuses_delays_no_other(keeper, registry, etcd):
    """A new app without rights, and an app whose rights were revoked while it runs."""
    etcd.forbidden = {"new"}
    for name in ("new", "shop"):
        version = registry.register(body(name, f"{name}_1"))
    assert keeper._try() and registry.await_known(version, 0)
    assert (texts(etcd, "shop"), texts(etcd, "new")) == ([True, True], [False, False])
    assert etcd.keys[f"{PLACE.agents}web1"] == skydnsrecords.READY
    assert "etcd refuses to write" in keeper.refusal("new_1") and not keeper.refusal("shop_1") and not keeper.problem
    # From then on, the others need no second transaction.
    before = etcd.transactions
    registry.register(body("shop", "shop_2"))
    keeper._try()
    assert etcd.transactions == before + 2 and not keeper.refusal("shop_2")

    etcd.forbidden = {"shop"}
    registry.deregister("shop_1")
    registry.deregister("shop_2")
    keeper._try()
    assert keeper.refusal("shop_1") and keeper.refusal("shop_2") and texts(etcd, "shop") == [True, True]
    assert not keeper.refusal("new_1") and texts(etcd, "new") == [True, True]
    etcd.forbidden = set()
    keeper._try()
    assert not keeper.refusal("shop_1") and texts(etcd, "shop") == [False, False]


@pytest.mark.parametrize("fault", ["down", "no right to its own key"])
def test_an_etcd_that_takes_nothing_is_a_problem_of_all(keeper, registry, etcd, fault):
    version = registry.register(body("shop", "shop_1"))
    if fault == "down":
        etcd.is_down = True
    else:
        etcd.forbidden = {"agents"}
    with pytest.raises(Failed):
        etcd.revoke = lambda lease: None
        keeper._keep_lease()
    assert keeper._try() is None and keeper.problem and not registry.await_known(version, 0)
