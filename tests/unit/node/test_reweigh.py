"""The weights of a node's instances: what is changed, and what the record says of them."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.environment import Environment
from saltdeploy.core.environment import Node as Node_
from saltdeploy.core.errors import DiscoveryUnavailable
from saltdeploy.core.model import NORMAL_WEIGHT, App, Source
from saltdeploy.discovery import Endpoint
from saltdeploy.master import status
from saltdeploy.node import publication, restoration, reweigh

from tests.support.fleet import NEW, OLD, instance, make_app

RECORD = {
    "version": NEW,
    "nodes": {"web1": ["shop_1.0_100", "shop_2.0_101"], "web2": ["shop_1.0_100"]},
    "deployment": "d",
    "time": 0,
    "paused": {
        "from": OLD,
        "before": 2,
        "instances": 3,
        "nodes": ["web1", "web2"],
        "since": 0,
        "by": "me",
        "reason": "",
        "canary_weight": "25%",
        "weights": {OLD: 5120, NEW: 2560},
    },
}


@pytest.fixture(autouse=True)
def _publishes(monkeypatch):
    """Each of them is registered as it was before."""

    def publish(node, name, ids, weight=None, as_before=False):
        assert as_before
        node.publish(ids, weight)

    monkeypatch.setattr(publication, "publish", publish)


OTHERS = {"published": False}, {"running": False}, {"tested": False}


class Node:
    """Stands for a Lifecycle, its host, its inventory, its supervisor and its discovery.

    :param lost: ids of instances that only discovery has lost.
    :param holder: the session that holds the lock.
    """

    def __init__(self, *instances, record=RECORD, holder=None, lost=()):
        self.there, self.record, self.holder, self._lost = instances, record, holder, list(lost)
        self.inventory = self.runtime = self.discovery = self
        self.host = SimpleNamespace(node="web1", turns=self, instances=SimpleNamespace(recorded=self.instances))
        self.environment, self.done = Environment("test", {}, {}), []

    def app(self, name):
        return make_app()

    def alone(self, name, deployment=None, after=None, patience=0):
        return contextlib.nullcontext()

    def refuse_overtaken(self, name, deployment):
        pass

    def patience(self, name):
        return 0

    def states(self):
        return {i.id: SimpleNamespace(running=i.running) for i in self.there}

    def instances(self, name):
        return [replace(i, published=i.published and i.id not in self._lost) for i in self.there]

    def registered(self, name):
        return {}

    def find_lost(self, name, ids):
        return [i for i in ids if i in self._lost]

    def publish(self, ids, weight):
        self._lost = [i for i in self._lost if i not in ids]
        self.done.append((ids, weight))

    def read(self, key):
        if key.endswith("/lock"):
            return None, 1, self.holder
        assert key == "deploy/test/shop/current"
        return self.record, 1, None


def test_only_what_has_another_weight_is_registered_again():
    node = Node(instance("web1", OLD, 100, weight=5120), instance("web1", NEW, 101))
    assert reweigh.weigh(node, "shop", {"shop_1.0_100": 5120, "shop_2.0_101": 2560}) == ["shop_2.0_101"]
    assert node.done == [(["shop_2.0_101"], 2560)]


@pytest.mark.parametrize("flags", OTHERS)
def test_what_does_not_serve_is_not_registered(flags):
    node = Node(instance("web1", OLD, 100, **flags))
    assert reweigh.weigh(node, "shop", {"shop_1.0_100": 5120, "shop_1.0_109": 5120}) == [] == node.done


def test_a_weight_that_is_not_the_record_s_is_missing():
    """…and the record of no pause has the normal one for all; one that is in no record is left alone."""
    wrong, right = instance("web1", OLD, 100), instance("web1", NEW, 101, weight=2560)
    stranger = instance("web1", NEW, 109)
    assert restoration.find_missing(Node(wrong, right, stranger), "shop") == (["shop_1.0_100"], "")
    assert restoration.find_missing(Node(wrong, right, lost=["shop_1.0_100"]), "shop") == (["shop_1.0_100"], "")
    unpaused = {key: RECORD[key] for key in RECORD if key != "paused"}
    assert restoration.find_missing(Node(wrong, right, record=unpaused), "shop") == (["shop_2.0_101"], "")


def test_nothing_is_missing_while_somebody_deploys():
    node = Node(instance("web1", OLD, 100), holder="a session")
    assert restoration.find_missing(node, "shop") == ([], "shop is being deployed: nothing is restored meanwhile")


def test_what_is_restored_gets_the_weight_of_the_record():
    node = Node(instance("web1", OLD, 100), instance("web1", NEW, 101, weight=1), lost=["shop_2.0_101"])
    assert restoration.restore(node, "shop", ["shop_2.0_101", "shop_1.0_100"]) == ["shop_2.0_101", "shop_1.0_100"]
    assert node.done == [(["shop_2.0_101"], None), (["shop_1.0_100"], 5120), (["shop_2.0_101"], 2560)]


class Backend:
    """Stands for discovery, with one old instance and one new one that is published with ``weight``."""

    def __init__(self, weight):
        self.weight = weight

    def read(self, key):
        return (RECORD, 1, None) if key.endswith("current") else (None, 0, None)

    def instances(self, name):
        found = {"shop_1.0_100": (OLD, 5120), "shop_2.0_101": (NEW, self.weight)} if name == "shop" else {}
        meta = {"environment": "test", "minion": "web1"}
        return [Endpoint(i, name, "n", "a", 1, (), {**meta, "version": v}, weight=w) for i, (v, w) in found.items()]


def of_app(weight):
    app = App("shop", Source("pip", "shop"), "run")
    nodes = {name: Node_(name, "a") for name in ("web1", "web2")}
    return status.of_app(Backend(weight), Environment("test", nodes, {"shop": app}), app)


def test_status_has_the_share_and_says_which_weight_is_wrong():
    right, wrong = of_app(2560), of_app(NORMAL_WEIGHT)
    assert right["share"] == pytest.approx(1 / 3)
    assert [row["state"] for row in right["instances"] if row["node"] == "web1"] == ["published", "published"]
    assert "with weight 25600 and not 2560" in wrong["instances"][1]["notes"]
    assert wrong["drift"] == of_app(2560)["drift"]


def test_an_election_is_waited_out():
    """What is restored while a leader is elected is restored, and has its weight."""
    node = Node(instance("web1", OLD, 100, weight=1), lost=["shop_1.0_100"])
    answers = iter([DiscoveryUnavailable("no leader"), DiscoveryUnavailable("no leader"), (RECORD, 1, None)])

    def read(key):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    node.read = read
    assert restoration.restore(node, "shop", ["shop_1.0_100"]) == ["shop_1.0_100"]
    assert node.done == [(["shop_1.0_100"], None), (["shop_1.0_100"], 5120)]
