from types import SimpleNamespace

import pytest
from saltdeploy.master.rollout import health

from tests.support.rollout import NOW


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """Time goes by only while a simulated fleet has something to wait for."""
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: NOW[0]))
