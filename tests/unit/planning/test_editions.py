"""Which settings a deployment takes, and what a plan says of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from saltdeploy.core import editions as text
from saltdeploy.core.changes import NOT_KEPT
from saltdeploy.planning import editions
from saltdeploy.planning.explain import actions, settings
from saltdeploy.planning.model import Plan, Wave

from tests.support.fleet import desire, instance, observe

RELEASE, LEVEL, LOST = "2.0", {"env": ["LEVEL"]}, {NOT_KEPT: []}
KEPT = st.dictionaries(
    st.sampled_from(["2.0", "2.0@1", "2.0@4", "2.0@9", "1.0", "1.0@3"]), st.sampled_from([{}, LEVEL, None, LOST])
)
NODES = st.dictionaries(st.sampled_from(["a", "b", "c"]), KEPT)
KNOWN = st.lists(st.sampled_from(["1.0", "1.0@2", "2.0@11", "0.9@20"]))


def chosen(kept, *instances, known=()):
    return editions.choose(observe(*instances, editions=kept), RELEASE, lambda: known)


@given(NODES, KNOWN)
def test_settings_that_are_taken_again_are_the_same_everywhere(kept, known):
    found = chosen(kept, known=known)
    assert text.release(found) == RELEASE
    texts = [some[found] for some in kept.values() if found in some]
    assert all(not differs for differs in texts)


@given(NODES, KNOWN)
def test_other_settings_get_a_number_that_nothing_ever_had(kept, known):
    there = {edition for some in kept.values() for edition in some}
    of_release = {edition for edition in there if text.release(edition) == RELEASE}
    found = chosen(kept, known=known)
    if found not in there and of_release:
        assert text.settings(found) > max(map(text.settings, there | set(known)))


@given(NODES, KNOWN)
def test_settings_that_are_the_same_are_not_given_another_number(kept, known):
    """Else a deployment would roll out what is there already."""
    everywhere = {e: [some[e] for some in kept.values() if e in some] for e in ("2.0", "2.0@1", "2.0@4", "2.0@9")}
    # A node that may not run the app any more cannot tell.
    same = [
        edition for edition, texts in everywhere.items() if {} in texts and all(text in ({}, None) for text in texts)
    ]
    assert not same or chosen(kept, known=known) in same


@given(NODES, KNOWN)
def test_what_is_deployed_is_chosen_again(kept, known):
    found = chosen(kept, known=known)
    after = {node: {**some, found: {}} for node, some in {"a": {}, "b": {}, "c": {}, **kept}.items()}
    serving = [instance(node, found) for node in after]
    assert chosen(after, *serving, known=[*known, found]) == found


@given(NODES, st.sampled_from(["2.0", "2.0@1", "2.0@4"]))
def test_settings_that_run_are_preferred(kept, serving):
    """…to newer ones that are the same, which would be rolled out for nothing. Without any, the newest are taken."""
    kept = {"x": {"2.0": {}, "2.0@1": {}, "2.0@4": {}}, **kept}
    is_same = all(some[serving] == {} for some in kept.values() if serving in some)
    assert not is_same or chosen(kept, instance("x", serving)) == serving
    assert chosen({"x": kept["x"]}) == "2.0@4"


def test_the_first_settings_of_a_release_have_no_number():
    assert chosen({}) == chosen({"a": {"1.0@3": ""}}) == "2.0"


def test_a_release_that_only_nodes_have_that_cannot_tell_gets_a_number():
    assert chosen({"a": {"2.0": None}}) == "2.0@1"


def test_a_plan_names_the_instances_whose_settings_differ():
    there = [instance("web1", "2.0"), instance("web2", "2.0@1"), instance("web3", "1.0")]
    kept = {"web1": {"2.0": LEVEL}, "web2": {"2.0@1": {}}, "web3": {"1.0": {"run": []}}}
    desired, seen = desire(version="2.0@1"), observe(*there, editions=kept)
    assert editions.changed(desired, seen) == {"web1": {"shop_2.0_100": LEVEL}}
    empty = Plan({}, (), (), True)
    assert settings(empty, desired, seen) == [
        "the definition has other settings (env: LEVEL) than shop_2.0_100 on web1"
    ]
    changed = editions.changed(desired, seen)
    assert actions(empty, seen, "2.0@1", changed)["settings"] == {"web1": {"shop_2.0_100": LEVEL}}


@pytest.mark.parametrize(
    "kept, said",
    [
        # Nothing has changed since, so that a node that never had them takes the same.
        ({"web1": {"2.0@1": {}}}, []),
        ({"web1": {"2.0@1": LEVEL}, "web2": {"2.0@1": LEVEL}}, []),
        (
            {"web1": {"2.0@1": LEVEL}},
            [
                "web2: shop starts with the settings of now, which differ in env: LEVEL, because those of 2.0 (settings"
                " 1) are not kept there"
            ],
        ),
        (
            # Nobody has kept them, since they were started before settings were kept.
            {"web1": {"2.0@1": LOST}, "web2": {"2.0@1": LOST}},
            ["web2: shop starts with the settings of now, because those of 2.0 (settings 1) are not kept there"],
        ),
        (
            {},
            ["web2: shop starts with the settings of now, because those of 2.0 (settings 1) are not kept there"],
        ),
    ],
)
def test_a_plan_says_where_settings_of_now_are_brought_in(kept, said):
    desired, seen = desire(version="2.0@1", as_before=True), observe(editions=kept)
    made = Plan({}, (), (Wave({"web2": 1}, {}),), True)
    assert settings(made, desired, seen) == said
    assert settings(made, desire(version="2.0@1"), seen) == []
