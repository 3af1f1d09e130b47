"""The keys, names and texts that SkyDNS needs in etcd."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saltdeploy.core.forms import VERSION
from saltdeploy.discovery import Endpoint, skydnsrecords
from saltdeploy.discovery.skydnsrecords import Place

PLACE = Place("skydns.local", "test", 10)
SEEN = Endpoint("shop_1.4.2_20000-7", "shop", "web1", "10.0.0.1", 20000, ("test",), {"minion": "web1"}, weight=25600)
CHECKS = [
    {"name": "http /", "status": "passing", "output": "fine", "interval": 2.0, "timeout": 5.0},
    {"name": "tcp", "status": "warning", "output": "slow", "interval": None, "timeout": None},
]


def test_a_record_is_at_the_name_of_its_service_backwards():
    assert PLACE.record("shop", "web1", SEEN.id).startswith("/skydns/local/skydns/test/shop/web1/shop-1-4-2-20000-7-")
    assert PLACE.record("shop", "web1.example.com", "a").split("/")[6].startswith("web1-example-com-")
    assert PLACE.entry("shop", "web1", SEEN.id) == "/saltdeploy/test/services/shop/web1/shop_1.4.2_20000-7"
    # The range of agents and services has neither locks of others nor values.
    assert PLACE.agents < PLACE.locks < PLACE.services < PLACE.values


@given(st.from_regex(VERSION, fullmatch=True), st.from_regex(VERSION, fullmatch=True))
def test_each_id_has_a_label_of_its_own(one, other):
    labels = {skydnsrecords.unique_label(f"shop_{version}_20000") for version in {one, other}}
    assert len(labels) == len({one, other})
    assert all(re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels)


@pytest.mark.parametrize(
    "text, found", [("web1", "web1"), ("a" * 63, "a" * 63), ("Web1", "web1-"), ("a" * 64, "a" * 54 + "-"), ("_", "")]
)
def test_a_label_stays_as_it_is_if_it_can(text, found):
    label = skydnsrecords.label(text)
    assert label.startswith(found) and len(label) <= 63 and (label == text) == (text == found)


def test_a_record_has_an_address_and_always_a_time():
    found = json.loads(skydnsrecords.message(PLACE, SEEN))
    assert found == {
        "host": "10.0.0.1",
        "port": 20000,
        "priority": 10,
        "weight": 25600,
        "ttl": 10,
        "text": "shop_1.4.2_20000-7",
    }
    portless = Endpoint("worker_1_1", "worker", "web1", "10.0.0.1", 0)
    assert "port" not in json.loads(skydnsrecords.message(PLACE, portless))


def test_an_entry_is_read_as_it_was_written():
    text = skydnsrecords.entry(SEEN, CHECKS)
    found = skydnsrecords.endpoint(text, alive=True)
    assert (found.id, found.name, found.node, found.address, found.port) == (
        *("shop_1.4.2_20000-7", "shop", "web1"),
        *("10.0.0.1", 20000),
    )
    assert (found.status, found.output, found.tags, found.weight) == ("warning", "slow", ("test",), 25600)
    assert found.checks == (("http /", 2.0, 5.0), ("tcp", None, None))
    dead = skydnsrecords.endpoint(text, alive=False)
    assert (dead.status, dead.alive) == (
        "critical",
        False,
    ) and dead.output == "the health agent of web1 does not answer"


@pytest.mark.parametrize("text", ["", "[]", "{}", '"x"', "null", '{"checks": [{"status": "fine"}]}', "[" * 2000])
def test_what_somebody_else_wrote_is_no_service(text):
    assert skydnsrecords.endpoint(text, alive=True) is None


@pytest.mark.parametrize(
    "text, found", [('["a", "b"]', {"a", "b"}), ("[]", set()), ("{}", None), ("x", None), ("[" * 100000, None)]
)
def test_the_list_of_services_with_rights(text, found):
    assert skydnsrecords.granted(text) == found
