import pytest


@pytest.fixture(autouse=True)
def _restart_event_listener():
    """Take the place of pytest-salt-factories' own: no daemon of its is here, and its port may be somebody else's by now."""
