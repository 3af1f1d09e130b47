"""What users are told of names and values that are not allowed: words, and no regular expression."""

import re

import pytest
from saltdeploy.core import addresses, advice, names
from saltdeploy.core.errors import NOT_REVERTED, REVERTED, DefinitionError, Refused
from saltdeploy.definition import schema
from saltdeploy.master.verbs import guard

from tests.support.definitions import complaint


def refused(function, *args, **kwargs):
    with pytest.raises(Refused) as caught:
        function(*args, **kwargs)
    assert not re.search(r"\^?\[[^]]*\]\S*[*+{]|matching|must match", str(caught.value))
    return str(caught.value)


def test_names_are_explained_in_words():
    assert refused(names.app, "Shop_A") == "app: 'Shop_A' is not a name. Write a name of a-z, 0-9 and -: shop-a."
    assert "CYRILLIC SMALL LETTER O" in refused(names.app, "sh\u043ep")
    assert refused(names.app, {}).startswith("app: found a mapping. Write a name: a-z, 0-9 and -, at most 53")
    assert refused(names.version, "../x").startswith("version: '../x' is not a version. Write a version: letters, ")
    assert refused(names.version, 3.1) == f"version 3.1: it was read as a number. {names.AS_TEXT}"
    assert refused(names.host, "a b") == "'a b' is no name of a host. Write letters, digits and . -"


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


def test_an_address_with_a_leading_zero():
    with pytest.raises(DefinitionError, match="four numbers up to 255, and none begins with a 0"):
        addresses.of_node("010.0.0.1", "at")


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


@pytest.mark.parametrize("force, code", [(False, REVERTED), (True, NOT_REVERTED)])
def test_an_internal_error_of_unlock_is_a_danger_only_with_force(force, code):
    def unlock(name=None, env=None, force=False, *extra, **kwargs):
        raise ValueError("broken")

    result = guard.result(unlock, ("shop",), {"force": force})
    assert result["retcode"] == code
    assert ("may be unfinished" in result["verdict"]) is force
