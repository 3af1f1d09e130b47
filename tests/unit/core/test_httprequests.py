"""The request of a check, a test or a gate in a definition."""

from __future__ import annotations

import pytest
from saltdeploy.core import httprequests
from saltdeploy.core.errors import DefinitionError
from saltdeploy.core.httprequests import Request


def test_it_has_the_keys_of_a_request_and_no_others():
    raw = {"path": "/", "status": 200, "contains": "x", "url": "http://a", "json": "/b"}
    assert httprequests.request(raw, "at") == Request()
    given = {"host": "a", "method": "PUT", "headers": {"X": " b\n"}, "body": "c", "redirects": True, "insecure": True}
    assert httprequests.request({**raw, **given}, "at") == Request("a", "PUT", {"X": "b"}, "c", True, "", True)
    assert set(httprequests.KEYS) == set(vars(Request()))


@pytest.mark.parametrize("value", ["hunter2\nX: y", "hünter2", "hunter2\x00"])
def test_a_header_is_printable_and_is_not_shown(value):
    with pytest.raises(DefinitionError, match="at:headers:X: has a character that is not allowed") as caught:
        httprequests.headers({"X": value}, "at")
    assert "nter2" not in str(caught.value)


@pytest.mark.parametrize("raw, read", [("2xx", None), (204, 204), ([200, "3xx"], (200, "3xx")), ("4xx", ("4xx",))])
def test_statuses(raw, read):
    assert httprequests.statuses(raw) == read


@pytest.mark.parametrize(
    "wanted, among, said",
    [
        (200, [200], "200"),
        (None, [200, 204], "2xx"),
        (("2xx",), [200, 204], "2xx"),
        ((204, "3xx"), [204, 302], "204 or 3xx"),
    ],
)
def test_statuses_are_numbers_and_classes(wanted, among, said):
    assert [status for status in (200, 204, 302, 429) if httprequests.accepted(wanted, status)] == among
    assert httprequests.expected(wanted) == said


@pytest.mark.parametrize(
    "raw, secure, mistakes",
    [
        ({"ca": "/a", "host": "b"}, True, []),
        ({"ca": "/a"}, False, ["at:ca: has no meaning without TLS. Do so, or remove it."]),
        ({"insecure": True}, False, ["at:insecure: has no meaning without TLS. Do so, or remove it."]),
        (
            {"ca": "/a", "insecure": True},
            True,
            ["at:insecure: accepts any certificate, so `ca` has no meaning. Remove one of them."],
        ),
        (
            {"method": "HEAD", "json": "/a"},
            False,
            ["at:json: an answer to HEAD has no text. Write another `method`."],
        ),
        ({"method": "POST", "json": "/a"}, False, []),
        (
            {"headers": {"HOST": "a", "Content-Length": "1"}},
            False,
            [
                "at:headers:HOST: is made from `host`. Write that, and not the header.",
                "at:headers:Content-Length: is made from `body`. Write that, and not the header.",
            ],
        ),
    ],
)
def test_keys_that_cannot_be_together_are_all_named(raw, secure, mistakes):
    def check():
        httprequests.check(raw, "at", secure, ["json"], "Do so")

    if not mistakes:
        return check()
    with pytest.raises(DefinitionError) as caught:
        check()
    assert str(caught.value).splitlines() == mistakes
    return None
