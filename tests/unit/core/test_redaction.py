"""Secrets of an app in what it prints."""

import pytest
from saltdeploy.core.httprequests import Request
from saltdeploy.core.redaction import hidden, of_request, without

ENV = {"PASSWORD": "hunter2", "DB": "postgres://shop:s%40fer3@db/shop", "PORT": "8080", "MODE": "true", "EMPTY": ""}


@pytest.mark.parametrize(
    "printed, shown",
    [
        ("pw hunter2!", "pw ***!"),
        ("connecting postgres://shop:s%40fer3@db/shop", "connecting ***"),
        ("FATAL: password s%40fer3 of shop, or s@fer3", "FATAL: password *** of shop, or ***"),
        ("port 8080 is in use, true story", "port 8080 is in use, true story"),
        ("", ""),
    ],
)
def test_values_are_hidden_wherever_they_stand(printed, shown):
    assert hidden(printed, ENV) == shown


def test_a_request_has_its_secrets_in_headers_and_body():
    request = Request(headers={"Authorization": "Bearer hunter2"}, body="secretbody")
    assert without("Bearer hunter2, hunter2, secretbody, Bearer", of_request(request)) == "***, ***, ***, Bearer"


def test_a_value_in_another_value_leaves_no_rest():
    assert hidden("geheim-geheim2", {"A": "geheim", "B": "geheim-geheim2"}) == "***"
