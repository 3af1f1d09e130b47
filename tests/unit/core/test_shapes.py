"""Junk in Consul's keys: it is named and left out, and what is good is used."""

import base64
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saltdeploy.core import entries, hooks, records, shapes
from saltdeploy.core.errors import Refused
from saltdeploy.discovery.consul import _value

RECORD = {"version": "1.0", "deployment": "d", "time": 1.0, "nodes": {"web1": ["shop_1.0_80"]}}
PAUSED = {"from": "0.9", "before": 1, "instances": 2, "nodes": ["web1"], "by": "me", "reason": "", "since": 1.0}
FROZEN = {"version": "1.0", "why": "x", "by": "me", "reason": "", "deployment": "d", "since": 1.0}
ENTRY = {
    "version": "1.0",
    "retcode": 0,
    "owner": "me",
    "reason": "",
    "began": 1.0,
    "seconds": 1.0,
    "why": "",
    "record": RECORD,
}
JUNK = [0, "", "x", [], [RECORD], True, 1e400, {}, {"nodes": 1}, {**RECORD, "nodes": []}, {**RECORD, "time": math.nan}]
JUNK += [{**RECORD, "time": value} for value in (math.inf, -1, True, 10**400, -(10**400))]


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        {**RECORD, "paused": PAUSED},
        {**RECORD, "paused": {**PAUSED, "move": True}},
        {**RECORD, "frozen": FROZEN},
        {**RECORD, "digests": {"1.0": "a" * 64}},
        {**RECORD, "x": 1},
    ],
)
def test_what_is_right_is_used_as_it_is(record):
    assert shapes.record(record, "shop") == (record, [])
    assert shapes.entry({**ENTRY, "record": record}, "shop") == ({**ENTRY, "record": record}, [])


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_record_is_none_and_is_said(junk):
    found, problems = shapes.record(junk, "shop")
    assert found is None and len(problems) == 1 and "This key is left out" in problems[0]
    assert shapes.entry({**ENTRY, "record": junk}, "shop")[0] is None
    assert shapes.entry(junk, "shop")[0] is None


@pytest.mark.parametrize(
    "bad",
    [
        "blog_1.0_80",
        "shop_1.0_80/..",
        "../x",
        "shop_1.0_99999",
        "shop_1.0_hook",
        "shop_80",
        5,
        None,
        ["nope"],
        {},
    ],
)
def test_of_a_record_with_one_bad_id_the_others_are_used(bad):
    record = {**RECORD, "nodes": {"web1": [bad, "shop_1.0_80"], "web2": [bad], "web3": bad}}
    found, problems = shapes.record(record, "shop")
    assert found == RECORD and len(problems) == 3 and all("It is left out." in problem for problem in problems)


@pytest.mark.parametrize(
    "part, wrong",
    [
        ("paused", {**PAUSED, "since": "x"}),
        ("paused", {**PAUSED, "weights": {"1.0": "x"}}),
        ("paused", {**PAUSED, "move": "false"}),
        ("paused", []),
        ("frozen", {**FROZEN, "why": None}),
        ("warm", {"until": "x", "nodes": {}}),
        ("warm", {"until": 1.0}),
    ],
)
def test_of_a_record_with_one_bad_part_the_rest_is_used(part, wrong):
    found, problems = shapes.record({**RECORD, part: wrong}, "shop")
    assert found == RECORD and len(problems) == 1 and problems[0].startswith(f"{part}: ")


@pytest.mark.parametrize("key", [k for k in ENTRY if k != "record"])
def test_of_the_history_only_whole_entries_are_used(key):
    for changed in ({k: v for k, v in ENTRY.items() if k != key}, {**ENTRY, key: []}):
        found, problems = shapes.entry(changed, "shop")
        assert found is None and f"`{key}`" in problems[0]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RECORD, *PAUSED, "a"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.sampled_from([*RECORD, "paused", "frozen", "warm"]), ANYTHING)
def test_whatever_is_there_is_used_or_left_out(key, value):
    record, _ = shapes.record({**RECORD, "paused": PAUSED, key: value}, "shop")
    records.paused("shop", "e", record)
    hooks.frozen("shop", "e", record)
    entry, _ = shapes.entry({**ENTRY, key: value, "record": record}, "shop")
    assert entry is None or entries.last_good([entry], "2.0") in (None, entry)


class Discovery:
    """Has these keys, in this order."""

    def __init__(self, keys):
        self.found = list(keys.items())

    def entries(self, prefix):
        return [(key, value) for key, value in self.found if key.startswith(prefix)]

    def read(self, key):
        return dict(self.found).get(key), 1, None


def test_junk_is_named_by_its_key():
    prefix = records.prefix("site", "shop")
    backend = Discovery(
        {f"{prefix}current": "x", f"{prefix}history/9": ENTRY, f"{prefix}history/1": {**ENTRY, "why": "2"}}
    )
    record, problems = records.read(backend, prefix)
    assert record is None and problems[0].startswith("deploy/site/shop/current: found 'x'")
    # The newest is the one that Consul has last, whatever its id says.
    assert [e["why"] for e in entries.read(backend, prefix)[0]] == ["2", ""]
    assert entries.read(Discovery({f"{prefix}history/x": "x"}), prefix)[1][0].startswith("deploy/site/shop/history/x: ")


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"nul", b"[" * 100_000])
def test_a_key_that_is_no_json_can_be_read(raw):
    assert isinstance(_value({"Value": base64.b64encode(raw).decode()}), str)
    assert _value({"Value": base64.b64encode(json.dumps(RECORD).encode()).decode()}) == RECORD
    assert _value({"Value": None}) is None


def test_of_a_hook_whose_mark_cannot_be_read_the_end_is_not_known():
    [mark] = hooks.usable({"deploy/site/shop/hooks/1.0/before_start-0a": "junk"}).values()
    assert mark["state"] != "done" and "before_start-0a" in mark["phase"]
    with pytest.raises(Refused, match=r"must run once, and its mark cannot be read\. Find out"):
        hooks.refuse_unknown("shop", "e", "1.0", {"before_start-0a": mark})
