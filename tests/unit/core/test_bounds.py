"""The size of a definition is checked before anything else looks at it."""

import pytest
from saltdeploy.core import bounds
from saltdeploy.core.errors import DefinitionError


def refused(value):
    with pytest.raises(DefinitionError) as caught:
        bounds.check({"apps": {"shop": value}})
    return str(caught.value)


def nested(depth):
    return [nested(depth - 1)] if depth else 1


def test_values_of_the_largest_size_are_allowed():
    bounds.check({})
    bounds.check(nested(bounds.DEPTH))
    bounds.check({"text": "x" * bounds.TEXT, "least": -bounds.INTEGER, "most": bounds.INTEGER - 1})
    bounds.check([1.5, True, None, "tab\tand\nline break"])


@pytest.mark.parametrize(
    "value, problem",
    [
        (nested(bounds.DEPTH), "mappings and lists deep, at most 16 are allowed"),
        ("x" * (bounds.TEXT + 1), "apps:shop: found a text of 30001 characters"),
        ({"x" * (bounds.TEXT + 1): 1}, "apps:shop: found the name of 30001 characters"),
        ([bounds.INTEGER], "apps:shop:0: found a number that is too large"),
        ([-bounds.INTEGER - 1], "apps:shop:0: found a number that is too large"),
        ({bounds.INTEGER: 1}, "apps:shop: found the name a number that is too large"),
        ([0] * (bounds.ENTRIES + 1), "one entry too many"),
        (["x" * bounds.TEXT] * 70, "one text too many"),
        ({"a": b"x"}, "apps:shop:a: found something else. Write a mapping, a list, text,"),
        ({"a": {1, 2}}, "apps:shop:a: found something else."),
        ({("a", "b"): 1}, "apps:shop: found the name something else."),
    ],
)
def test_a_value_that_is_too_large_or_not_plain_data_is_named(value, problem):
    assert problem in refused(value)


def test_a_control_character_is_named_by_its_place_and_the_text_is_not_shown():
    said = refused({"env": {"PASSWORD": "hunter2\0"}})
    assert said == "apps:shop:env:PASSWORD: found a text whose character 8, U+0000, is not allowed in any text"


def test_a_value_that_holds_itself_is_refused():
    value = {}
    value["again"] = value
    assert "mappings and lists deep" in refused(value)


def test_a_value_that_anchors_repeat_many_times_is_refused():
    value = [1]
    for _ in range(10):
        value = [value] * 10
    assert "one entry too many" in refused(value)


def test_an_exception_on_a_wrong_shape_is_told_without_its_text():
    said = str(bounds.misshapen("apps:shop", KeyError("hunter2")))
    assert said.startswith("apps:shop: not as a definition must be (KeyError)") and "hunter2" not in said
