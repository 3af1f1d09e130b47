"""Durations as people write them."""

import pytest
from saltdeploy import durations


@pytest.mark.parametrize(
    "written, seconds",
    [(3, 3.0), (0.5, 0.5), ("500ms", 0.5), ("10s", 10.0), ("1.5m", 90.0), ("2h", 7200.0)],
)
def test_duration(written, seconds):
    assert durations.seconds(written) == pytest.approx(seconds)
