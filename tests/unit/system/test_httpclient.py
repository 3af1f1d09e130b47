"""Where a request goes, and what its answer says. tests/unit/system/test_httpprobe.py asks real servers."""

from __future__ import annotations

import time

import pytest
from saltdeploy.core.httprequests import Request
from saltdeploy.system import httpclient

from tests.unit.system.probing import ADDRESS, CERTIFIED


@pytest.mark.parametrize(
    "url, place",
    [
        ("http://a", ("http", "a", 80, "/")),
        ("https://a?x=1", ("https", "a", 443, "/?x=1")),
        ("https://a:8443/b/c?x=1&y=2", ("https", "a", 8443, "/b/c?x=1&y=2")),
        ("http://[fd00::1]:9090/api", ("http", "fd00::1", 9090, "/api")),
    ],
)
def test_the_place_of_a_url(url, place):
    assert httpclient.place(url) == place


def test_a_url_is_asked_as_it_is_written(web):
    values, pages, asked = web
    pages["/a%2Bb?q=sum%28x%29+y"] = (201, {"Content-Type": "text/plain; charset=latin-1"}, "Grüße".encode("latin-1"))
    place = httpclient.place(f"http://{ADDRESS}:{values['port']}/a%2Bb?q=sum%28x%29+y")
    response, body = httpclient.ask(place, Request(method="POST", body="{}"), time.monotonic() + 5)
    assert (response.status, httpclient.text(response, body)) == (201, "Grüße")
    [(_, sent)] = asked
    assert (sent["method"], sent["body"]) == ("POST", b"{}")


def test_it_says_why_there_is_no_answer(secure):
    values, ca, _ = secure
    soon = time.monotonic() + 5
    with pytest.raises(OSError) as caught:
        httpclient.ask(httpclient.Place("https", ADDRESS, values["port"], "/"), Request(ca=ca), soon)
    assert httpclient.reason(caught.value).startswith("its certificate is not accepted: IP address mismatch")
    response, _ = httpclient.ask(httpclient.Place("https", CERTIFIED, values["port"], "/"), Request(ca=ca), soon)
    assert response.status == 200
