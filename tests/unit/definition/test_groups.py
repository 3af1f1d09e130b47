"""Groups of apps in an environment."""

from __future__ import annotations

import pytest
from saltdeploy import definition
from saltdeploy.core.environment import Group
from saltdeploy.core.errors import DefinitionError

APP = {"source": {"archive": "salt://a-{version}.tar.gz"}, "run": "./a"}


NODES, OTHER = {"web1": {"address": "10.0.0.1"}}, {"web2": {"address": "10.0.0.2"}}


def load(groups, apps="ab", based=False):
    here = {"nodes": {"web1": {"address": "10.0.0.1"}}, "apps": {app: {} for app in apps}, "groups": groups}
    copy = {"based_on": "e", "nodes": {"web2": {"address": "10.0.0.2"}}}
    pillar = {"apps": dict.fromkeys(apps, APP), "environments": {"e": here, "copy": copy}}
    return definition.load(pillar, "copy" if based else "e").groups


def test_a_group_of_the_base_can_be_changed():
    pillar = {
        "apps": dict.fromkeys("ab", APP),
        "environments": {
            "e": {"nodes": NODES, "apps": {"a": {}, "b": {}}, "groups": {"one": {"apps": ["a", "b"]}}},
            "copy": {"based_on": "e", "nodes": OTHER, "groups": {"one": {"together": True}}},
        },
    }
    assert definition.load(pillar, "copy").groups == {"one": Group(("a", "b"), together=True)}


def test_groups_are_read_and_inherited():
    given = {"one": {"apps": ["a", "b", "a"], "together": True}, "two": {"apps": ["a"]}}
    found = {"one": Group(("a", "b"), together=True), "two": Group(("a",))}
    assert load(given) == load(given, based=True) == found
    assert load({}) == {}


@pytest.mark.parametrize(
    "groups, said",
    [
        ({"one": {"apps": ["a", "bb"]}}, "groups:one:apps: bb is no app of this environment (did you mean `b`?)"),
        ({"one": {"apps": []}}, "groups:one:apps"),
        ({"one": {}}, "groups:one:apps: is missing."),
        ({"one": ["a"]}, "groups:one"),
        ({"One": {"apps": ["a"]}}, "groups"),
        ({"one": {"apps": ["a"], "together": "yes"}}, "groups:one:together"),
        (
            {"one": {"apps": ["a"], "together": True}, "two": {"apps": ["a"], "together": True}},
            "groups:two:apps: a is in one, which is `together`, too. Leave it in one of them.",
        ),
    ],
)
def test_a_wrong_group_is_refused(groups, said):
    with pytest.raises(DefinitionError) as refused:
        load(groups, apps=["a", "b"])
    assert "environments:e:groups" in str(refused.value) and said in str(refused.value), str(refused.value)
