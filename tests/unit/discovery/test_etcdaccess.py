"""Access control of etcd. tests/integration/test_etcd_access.py has the rest, with a real etcd."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.discovery.etcdaccess import Access


def test_a_ca_that_cannot_be_read_is_told_as_such(tmp_path):
    with Access(["https://127.0.0.1:9"], "secret", str(tmp_path / "ca.pem")) as access:
        with pytest.raises(Failed, match=r"ca\.pem.*See discovery:skydns:ca") as told:
            access.bring({}, {}, 5)
    assert "password" not in str(told.value)
