"""The states of Consul's access control, by Salt's own loader."""

import pytest


@pytest.mark.parametrize(
    "state, wrong, problem",
    [
        ("policy", {"rules": ["hunter2"], "management": ""}, "rules: found a list. Write text."),
        ("policy", {"rules": "", "management": "hunter2 2"}, "management: found text. Write a token, without spaces."),
        ("role", {"policies": {"hunter2": 2}, "management": ""}, "policies: found a mapping. Write a list of names."),
        (
            "policy",
            {"rules": "", "management": "", "url": "http://hunter2:port"},
            "url: found text. Write a URL that begins with http:// or https://.",
        ),
        (
            "token",
            {"accessor": "a", "secret": "s", "management": "", "rights": {"Policies": [{"Id": "hunter2"}]}},
            "rights: found a mapping. Write a mapping of text to lists of mappings.",
        ),
    ],
)
def test_a_wrong_argument_is_named_and_not_shown(states, state, wrong, problem):
    ret = states[f"consul_acl.{state}"]("web", **wrong)
    assert ret["result"] is False and ret["changes"] == {} and ret["comment"] == problem
