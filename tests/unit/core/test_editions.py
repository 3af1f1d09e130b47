"""A release and the number of its settings, as one text."""

from __future__ import annotations

import pytest
from saltdeploy.core import editions, names
from saltdeploy.core.errors import Refused


@pytest.mark.parametrize(
    "edition, release, number, told",
    [("1.4.2", "1.4.2", 0, "1.4.2"), ("1.4.2@7", "1.4.2", 7, "1.4.2 (settings 7)"), ("1_0-7@12", "1_0-7", 12, None)],
)
def test_its_parts(edition, release, number, told):
    assert (editions.release(edition), editions.settings(edition)) == (release, number)
    assert editions.of(release, number) == edition and editions.is_edition(edition)
    assert editions.told(edition) == (told or f"{release} (settings {number})")


@pytest.mark.parametrize(
    "wrong", ["1.0@", "1.0@0", "1.0@07", "@7", "1.0@7@8", "1.0@x", "1.0@123456", "", 7, None, "1.0@7\n"]
)
def test_anything_else_is_none(wrong):
    assert not editions.is_edition(wrong)
    with pytest.raises(Refused):
        names.edition(wrong)


def test_a_version_with_a_number_is_no_release():
    assert names.edition("1.0@7") == "1.0@7" and names.edition("1.0") == "1.0"
    with pytest.raises(Refused):
        names.version("1.0@7")


@pytest.mark.parametrize("known, number", [([], 1), (["1.0"], 1), (["1.0@3", "2.0@7", "2.0"], 8)])
def test_the_next_number_is_beyond_all_known_ones(known, number):
    assert editions.following(known) == number
