"""The advice on a wrong value: it names the fix, and shows no value that may be secret."""

import jsonschema
import pytest
from saltdeploy.core import advice, forms
from saltdeploy.definition import schema

from tests.support.definitions import complaint

ADDRESS = schema.ENVIRONMENTS["additionalProperties"]["properties"]["nodes"]["additionalProperties"]["properties"][
    "address"
]


@pytest.mark.parametrize(
    "value, said",
    [
        ("10.0.0.11/24", "Write the address alone: 10.0.0.11."),
        ("[fd00::11]", "Write the address alone: fd00::11."),
        ("web_1", "Write an IP address, IPv4 or IPv6, for example 10.0.0.11."),
    ],
)
def test_the_advice_on_an_address_is_one_that_is_taken(value, said):
    assert advice.wrong(ADDRESS, value) == f"'{value}' is not an address. {said}"


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"resources": {"memory": 512}}, "512 is not a size. Write a size with its unit: 512M."),
        ({"resources": {"memory": 536870912}}, "Write the number of bytes in quotes: '536870912'."),
        ({"packages": "python3"}, "'python3' is not a list. Write a list: [python3]."),
        ({"checks": [{"command": "x"}]}, "checks:0"),
    ],
)
def test_the_advice_on_a_value(wrong, said):
    assert said in complaint(wrong)


@pytest.mark.parametrize(
    "title, value, fix",
    [
        ("a size", "512MB", "512M"),
        ("a size", "1 gib", "1G"),
        ("a size", "0.5G", "512M"),
        ("a size", "0.5", None),
        ("a size", True, None),
        ("a size", 2**20, "the number of bytes in quotes: '1048576'"),
        ("a percentage", 2, "a percentage of one processor: `cpu: 200%`"),
        ("a percentage", "0.5", "a percentage of one processor: `cpu: 50%`"),
        ("a percentage", "150 %", "a percentage of one processor: `cpu: 150%`"),
        ("a percentage", 65, "a percentage of one processor: `cpu: 65%`"),
        ("a percentage", 0, None),
        ("a percentage", True, None),
        ("a duration", "1 day", "24h"),
        ("a duration", "5 Minutes", "5m"),
        ("a duration", "20 ms", "20ms"),
        ("a duration", "7", "7s"),
        ("a duration", "soon", None),
        ("a name", "Shop_A", "a name of a-z, 0-9 and -: shop-a"),
        ("a name", "--", None),
        ("a name", "caf\u00e9", None),
        ("a name", "x" * 54, None),
        ("a name", ["shop"], None),
        ("an address", "[fd00::1]", "the address alone: fd00::1"),
        ("an address", 1, None),
        ("a port or a range of ports", "8000..8010", "8000-8010"),
        ("a port or a range of ports", "8000 to 8010", "8000-8010"),
        ("a port or a range of ports", "70000", None),
        ("a port or a range of ports", True, None),
    ],
)
def test_a_value_is_corrected(title, value, fix):
    assert advice.FIXES[title](value) == fix


def test_what_is_corrected_is_allowed():
    corrected = [advice.FIXES["a duration"](text) for text in ("1 day", "5 min", "2 weeks", "3", "10 ms")]
    assert [complaints for text in corrected if (complaints := schema_problem({"drain": text}))] == []
    assert schema_problem({"drain": "1 day"})


def schema_problem(strategy):
    return [error.message for error in jsonschema.Draft7Validator(schema.STRATEGY.schema).iter_errors(strategy)]


@pytest.mark.parametrize(
    "allowed, value, said",
    [
        (
            {"type": "string", "writeOnly": True, "examples": ["x"]},
            "hunter2",
            "found text. Write text: quote a number.",
        ),
        ({"type": "string"}, "hunter2", "found text. Write text: quote a number."),
        ({"type": "string", "pattern": "^x$", "examples": ["x"]}, {"hunter2": 1}, "found a mapping. Write text: quote"),
        ({"type": "string"}, True, "found true or false. Write text: quote a number. (YAML reads on, off,"),
        ({"type": "string"}, None, "found nothing. Write text: quote a number. (YAML reads nothing,"),
        ({"type": "string"}, b"hunter2", "found something that is no text."),
    ],
)
def test_a_value_that_may_be_secret_is_not_shown(allowed, value, said):
    sentence = advice.wrong(allowed, value)
    assert sentence.startswith(said) and "hunter2" not in sentence


@pytest.mark.parametrize(
    "allowed, value, said",
    [
        (forms.A_VERSION, 3.1, "3.1 was read as a number, and digits may be lost"),
        ({"enum": ["rolling", "blue_green"]}, "Blue Green", "Write blue_green."),
        ({"enum": ["rolling"]}, "roling", "Write rolling."),
        ({"enum": ["rolling"], "renamed": {"beside": "rolling"}}, "beside", "Write rolling."),
        ({"type": "integer"}, "12", "Write the number without quotes: 12."),
        ({"type": "integer"}, 2.0, "Write a whole number: 2."),
        ({"type": "integer"}, 10.0**100, "Write a whole number."),
        ({"type": "boolean"}, "on", "Write true or false, without quotes."),
        ({"type": "array", "examples": [["a"]]}, "a b", "Write a list, for example [a]."),
    ],
)
def test_the_value_that_was_meant_is_named(allowed, value, said):
    assert said in advice.wrong(allowed, value)
