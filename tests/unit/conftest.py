import pytest
from saltdeploy import limits


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """A download that breaks off is tried again at once."""
    monkeypatch.setattr(limits, "WAITS", (0, 0, 0))
