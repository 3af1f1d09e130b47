"""The record of an app: what clients have for good, and what it owes."""

from types import SimpleNamespace

import pytest
from saltdeploy.core import records


@pytest.mark.parametrize(
    "record, release",
    [
        ({}, None),
        ({"version": "1.0"}, "1.0"),
        ({"version": "2.0", "paused": {"from": "1.0"}}, "1.0"),
        ({"version": "2.0", "frozen": {"why": "a hook"}}, None),
    ],
)
def test_the_release_that_users_have_for_good(record, release):
    assert records.settled(record) == release


@pytest.mark.parametrize(
    "value, highest", [(None, 0), (7, 7), (True, 0), (-1, 0), (100000, 0), ("7", 0), ([], 0), (1.5, 0)]
)
def test_the_highest_number_of_settings(value, highest):
    keys = SimpleNamespace(read=lambda key: ({"deploy/e/shop/settings": value}[key], 1, None))
    assert records.highest(keys, "deploy/e/shop/") == highest


@pytest.mark.parametrize("nodes, said", [([], ""), (["b"], "b did not answer"), (["b", "c"], "b, c did not answer")])
def test_the_nodes_that_owe_their_part_are_told_with_the_remedy(nodes, said):
    found = records.absent("shop", "e", {**records.NOTHING, "version": "2", "absent": nodes})
    assert found.startswith(said) and bool(found) == bool(said)
    target = "b" if len(nodes) == 1 else "-L b,c"
    remedy = f"When back, run salt {target} state.apply, then salt-run deploy.app shop version=\"'2'\" env=e"
    assert not nodes or found.endswith(remedy), found
    assert records.absent("shop", "e", None) == ""
