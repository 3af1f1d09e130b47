"""A node has as long as its instances may take to end."""

import pytest
from saltdeploy.core import deadlines

AT_ONCE = deadlines.STOPPED_AT_ONCE


@pytest.mark.parametrize(
    "count, rounds", [(0, 1), (1, 1), (AT_ONCE, 1), (AT_ONCE + 1, 2), (2 * AT_ONCE, 2), (2 * AT_ONCE + 1, 3)]
)
def test_instances_that_are_not_stopped_at_once_take_turns(count, rounds):
    assert deadlines.ending(5, count) == rounds * deadlines.ending(5, 1)


def test_an_instance_has_its_time_for_its_own_process_and_for_the_processes_that_are_left():
    assert deadlines.ending(60, 1) - deadlines.ending(0, 1) == 2 * 60
