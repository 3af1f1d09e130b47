"""What a state starts: nothing is left of an instance that fails."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.node import retirement
from saltdeploy.node.turns import STATE

from tests.support.onenode import make_node, may_pass, start, there


@pytest.fixture
def node(tmp_path, monkeypatch):
    return make_node(tmp_path, monkeypatch)


def test_of_what_fails_for_a_state_nothing_is_left_however_often(node):
    for _ in range(10):
        result = start(node, 2)
        assert not result.ok and result.instances == [] and there(node) == set()
        assert [text.split(":")[0] for text in result.failures] == ["web_1.0_0", "web_1.0_1"]
        for text in result.failures:
            assert "test `command rmdir good` failed: " in text and text.endswith("\nits last lines:\nno database")


def test_what_passes_beside_it_stays(node):
    may_pass(node)
    result = start(node, 2)
    assert not result.ok and [i.id for i in result.instances] == ["web_1.0_0"]
    assert there(node) == {"web_1.0_0"} and list(node.discovery.services) == ["web_1.0_0_candidate"]
    assert start(node).failures and there(node) == {"web_1.0_0"}


def test_what_cannot_be_started_for_a_state_leaves_no_folder(node):
    node.runtime.broken = True
    with pytest.raises(Failed, match="supervisord does not answer"):
        start(node)
    assert there(node) == set()


def test_what_a_killed_state_has_left_goes_with_the_next(node):
    node.start("web", "1.0", 1, STATE, held=True)
    assert there(node) == {"web_1.0_0"}
    may_pass(node)
    assert start(node).ok and there(node) == {"web_1.0_1"}


def test_what_died_later_goes_with_the_next(node):
    may_pass(node)
    assert start(node).ok
    node.runtime.up.clear()
    may_pass(node)
    assert start(node).ok and there(node) == {"web_1.0_1"}


def test_for_a_state_is_started_again_after_all_of_it_was_stopped(node):
    may_pass(node)
    assert start(node).ok
    assert retirement.stop(node, "web", deployment=STATE, drain=0) == ["web_1.0_0"]
    may_pass(node)
    assert start(node).ok
