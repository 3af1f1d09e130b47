"""The forms of values that become names in DNS, and paths on a node."""

import re

import pytest
from saltdeploy.core import forms


@pytest.mark.parametrize(
    "pattern, good, bad",
    [
        (forms.NAME, ["a", "shop", "shop-2", "x" * 53], ["", "-a", "a-", "Shop", "a_b", "a.b", "x" * 54]),
        (forms.VERSION, ["1", "1.0+b2~rc-1_x", "v" * 63], ["", ".1", "-1", "1/2", "1 0", "v" * 64]),
        (forms.MINION, ["web1", "web1.example.org", "WEB_1"], ["", ".web", "-web", "a/b", "a b"]),
        (forms.USER, ["shop", "_app", "app-2"], ["", "2app", "-x", "Shop", "x" * 33]),
        (forms.INSIDE, ["a", "a/b.conf", "..a", "a../b", ".config"], ["", "/a", "..", "a/..", "a/../b", "../a"]),
        (forms.FOLDER, ["/srv/shop", "/a.b/c..d"], ["/", "srv", "/srv/..", "/../srv", "/srv/../x", "/a b"]),
    ],
)
def test_forms(pattern, good, bad):
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []


def test_the_candidate_of_the_longest_name_is_a_dns_label():
    longest = "x" * 53
    assert re.search(forms.NAME, longest) and len(f"{longest}-candidate") == 63


def test_only_a_text_with_an_example_may_be_quoted():
    assert "examples" not in forms.text("a secret", "a secret", "^x$")
    assert forms.text("a name", "a name", "^x$", "shop", minLength=1)["examples"] == ["shop"]
