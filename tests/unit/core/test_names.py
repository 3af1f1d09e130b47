"""What users are told of names and values that are not allowed: words, and no regular expression."""

import re

import pytest
from saltdeploy.core import names
from saltdeploy.core.errors import Refused


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
