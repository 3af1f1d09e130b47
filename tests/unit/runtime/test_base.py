"""The parts that all runtimes share."""

import pytest
from saltdeploy.core.model import Stop
from saltdeploy.runtime.base import escaped, shortened, stop_of, whole_seconds


@pytest.mark.parametrize(
    "text, lines, most, shown",
    [
        ("a\nb\nc\n", 2, 100, "b\nc"),
        (b"a\xff\n", 2, 100, "a\ufffd"),
        ("x" * 8_000_000, 5, 100_000, "x" * 2000 + "… (7998000 more characters)"),
        ("aaa\nbbb\nccc", 9, 8, "… (lines before this are cut: the answer has at most 8 bytes)\nbbb\nccc"),
        ("", 5, 100, ""),
    ],
)
def test_what_was_printed_is_brought_back_in_bounds(text, lines, most, shown):
    assert shortened(text, lines, most) == shown


@pytest.mark.parametrize("seconds, whole", [(0.0, 1), (0.2, 1), (1.0, 1), (20.5, 21)])
def test_seconds_are_whole_and_never_for_ever(seconds, whole):
    assert whole_seconds(seconds) == whole


def test_a_path_with_a_percent_sign_stays_the_same_path():
    assert escaped("/srv/100%/a b") == "/srv/100%%/a b"


@pytest.mark.parametrize(
    "text, found",
    [
        ("[Service]\nKillSignal=SIGINT\nTimeoutStopSec=20\n", Stop("INT", 20.0)),
        ("KillSignal=SIGINT\n", Stop("INT", Stop().timeout)),
        ("# KillSignal=SIGINT\n", Stop()),
        ("KillSignal=\n", Stop()),
        ("\udcff", Stop()),
    ],
)
def test_the_stop_of_a_unit_is_read_from_its_file(tmp_path, text, found):
    path = tmp_path / "unit"
    assert stop_of(path, "KillSignal", "TimeoutStopSec") == Stop()
    path.write_text(text, errors="surrogateescape")
    assert stop_of(path, "KillSignal", "TimeoutStopSec") == found
