"""Durations as people write them."""

import pytest
from saltdeploy.core import durations
from saltdeploy.core.errors import DefinitionError


@pytest.mark.parametrize(
    "written, seconds",
    [(3, 3.0), (0.5, 0.5), ("500ms", 0.5), ("10s", 10.0), ("1.5m", 90.0), ("2h", 7200.0)],
)
def test_duration(written, seconds):
    assert durations.seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written, problem", [(0, "0 is too short"), ("0s", "'0s' is too short"), ("25h", "'25h' is too long")]
)
def test_a_duration_has_two_bounds(written, problem):
    assert durations.positive("24h", "a:b", 86400.0) == 86400.0
    with pytest.raises(DefinitionError, match=f"^a:b: {problem}. Write more than 0 and at most 1 days.$"):
        durations.positive(written, "a:b", 86400.0)
