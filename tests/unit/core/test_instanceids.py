"""The id of an instance, and its parts."""

from __future__ import annotations

import pytest
from saltdeploy.core import names, shapes
from saltdeploy.core.instanceids import instance_id, parts_of, slot_of, version_of


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
