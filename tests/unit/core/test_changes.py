"""The settings that differ, as data and in words."""

from __future__ import annotations

from saltdeploy.core import changes


def test_keys_whose_values_differ_or_that_only_one_has():
    assert changes.between({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "d": 4}) == ["b", "c", "d"]
    assert changes.between({}, {}) == []


def test_all_that_any_of_several_has():
    several = [{"env": ["B"], "run": []}, {"env": ["A", "B"]}, {}]
    assert changes.union(several) == {"env": ["A", "B"], "run": []} and changes.union([]) == {}


def test_in_words():
    assert changes.told({"run": [], "env": ["A", "B"]}) == "run; env: A, B"
    assert changes.told({}) == "" and changes.told({changes.NOT_KEPT: []}) == "not kept"
