import pytest
from saltdeploy import downloads


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """A download that breaks off is tried again at once."""
    monkeypatch.setattr(downloads, "WAITS", (0, 0, 0))
