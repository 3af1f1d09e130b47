import pytest
from saltdeploy.core import limits
from saltdeploy.core.model import App
from saltdeploy.node.host import Host

from tests.support.node import archive


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """A download that breaks off is tried again at once."""
    monkeypatch.setattr(limits, "WAITS", (0, 0, 0))


@pytest.fixture
def node(tmp_path):
    """The folder of a node, not made yet."""
    return Host("web1", tmp_path / "srv")


@pytest.fixture
def app(tmp_path):
    """An app without ports. Every version of it is the same archive."""
    return App("shop", archive(tmp_path / "shop.tar"), "run")
