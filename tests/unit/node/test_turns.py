"""Turns: one job at a time changes an app, and the jobs of an ended deployment are refused."""

import json
import threading
import time

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.node.turns import REMEMBERED, Turns


@pytest.fixture
def turns(tmp_path):
    return Turns("web1", tmp_path)


def refused(turns, app, deployment):
    """Return whether the node refuses the steps of ``deployment``, those that start instances and all others."""
    found = []
    for turn in (turns.starting, turns.alone):
        try:
            with turn(app, deployment):
                found.append(False)
        except Failed as exc:
            assert str(exc).startswith(f"Refused on web1: deployment {deployment} of {app} has ended there.")
            found.append(True)
    assert found[0] == found[1]
    return found[0]


def test_a_deployment_that_has_ended_does_nothing_any_more(turns):
    """A revert may overtake the job that it reverts."""
    assert not refused(turns, "shop", "d1")
    with turns.alone("shop", after="d1"):
        pass
    assert refused(turns, "shop", "d1")
    assert not any(refused(turns, *other) for other in (("shop", "d2"), ("shop", None), ("till", "d1")))


@pytest.mark.parametrize("torn", [None, "", '"d'])
def test_a_run_ends_when_a_later_one_begins(turns, torn):
    """After a power failure the node may not know which run was there before."""
    turns.begin("shop", "d1")
    turns.begin("shop", "d1")
    assert not refused(turns, "shop", "d1")
    if torn is not None:
        (turns.root / "shop/.run").write_text(torn)
    turns.begin("shop", "d2")
    assert refused(turns, "shop", "d1") == (torn is None) and not refused(turns, "shop", "d2")
    assert not refused(turns, "till", "d1")


def test_deployments_that_have_ended_are_remembered_beside_others(turns):
    """A job of an ended deployment may still be on its way."""
    for number in range(REMEMBERED + 1):
        turns.end("shop", f"d{number}")
        turns.end("shop", "d1")
    assert [d for d in map("d{}".format, range(REMEMBERED + 2)) if not refused(turns, "shop", d)] == ["d0", "d21"]
    assert len(json.loads((turns.root / "shop/.ended").read_text())) == REMEMBERED


@pytest.mark.parametrize("nobody", [None, "", "manual", "state", "restored"])
def test_what_stands_for_nobody_does_not_end(turns, nobody):
    turns.end("shop", "d1")
    turns.end("shop", nobody)
    assert not refused(turns, "shop", nobody)
    assert json.loads((turns.root / "shop/.ended").read_text()) == ["d1"]


@pytest.mark.parametrize("kept", ["d1", ""])
def test_what_an_earlier_saltdeploy_kept_of_a_deployment_that_ended_is_read(turns, kept):
    (turns.root / "shop").mkdir(parents=True)
    (turns.root / "shop/.ended").write_text(json.dumps(kept))
    assert refused(turns, "shop", kept) == bool(kept)
    turns.end("shop", "d2")
    assert refused(turns, "shop", "d2") and refused(turns, "shop", kept) == bool(kept)


def test_a_deployment_ends_before_it_is_the_turn_of_its_way_back(turns):
    """A job of the ended deployment that waits for its turn is refused, whichever job gets the turn first."""
    back = threading.Thread(target=lambda: turns.alone("shop", after="d1").__enter__(), daemon=True)
    with turns.alone("shop", "d1"):
        back.start()
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up and "d1" not in turns.ended("shop"):
            time.sleep(0.01)
        assert turns.ended("shop") == ["d1"] and back.is_alive()
    back.join(10)
    assert not back.is_alive() and refused(turns, "shop", "d1")


@pytest.mark.parametrize("torn", ["", '["d1'])
def test_what_was_torn_as_it_was_written_holds_nobody_up(turns, torn):
    turns.end("shop", "d1")
    (turns.root / "shop/.ended").write_text(torn)
    with turns.alone("shop", "d2", after="d3"):
        pass
    assert turns.ended("shop") == ["d3"]


@pytest.mark.parametrize("kept", ["5", "{}", '{"d1": 1}', "[1, null]", "[[]]"])
def test_what_is_no_list_of_deployments_holds_nobody_up(turns, kept):
    (turns.root / "shop").mkdir(parents=True)
    (turns.root / "shop/.ended").write_text(kept)
    with turns.alone("shop", "d2", after="d3"):
        pass
    assert turns.ended("shop") == ["d3"]


def test_a_way_back_that_comes_after_a_later_run_has_begun_is_refused(turns):
    turns.begin("shop", "d1")
    with turns.alone("shop", after="d1"):
        pass
    turns.begin("shop", "d2")
    told = "Refused on web1: deployment d2 of shop has begun there. .*deployment d1 is not undone any more"
    with pytest.raises(Failed, match=told), turns.alone("shop", after="d1"):
        pytest.fail("it was done")
    with turns.alone("shop", after="d2"), turns.alone("till", after="d1"):
        pass
