"""A release and the number of its settings, as one text."""

from __future__ import annotations

import pytest
from saltdeploy.core import editions, names, shapes
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import instance_id, parts_of, slot_of, version_of


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


@pytest.mark.parametrize("version", ["1.0", "1.0@7", "1_0-7", "1_0-7@12", "1.0~rc1+b@99999"])
def test_the_id_of_an_instance_has_it(version):
    one = instance_id("shop", version, 8001)
    assert parts_of(one) == ("shop", version, 8001) and (version_of(one), slot_of(one)) == (version, 8001)
    assert shapes.is_of(one, "shop") and not shapes.is_of(one, "shop2")
    assert names.instance(one) == one and "@" not in one


@pytest.mark.parametrize(
    "wrong", ["shop_1.0_8001-0", "shop_1.0_8001-", "shop_1.0_99999", "shop_1.0_8001-123456", "shop_1.0_8001@7"]
)
def test_ids_with_other_numbers_are_none(wrong):
    assert not shapes.is_of(wrong, "shop")
