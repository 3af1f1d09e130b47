from __future__ import annotations

import pytest
from saltdeploy import discovery
from saltdeploy.master import notify
from saltdeploy.master.verbs import execute, logs, session, status

from tests.support.verbs import Here


class Bus:
    """Stands for the master's event bus."""

    problem = ""

    def __init__(self, opts):
        pass

    def fire(self, tag, data):
        pass


@pytest.fixture
def here(monkeypatch):
    """Return ``make(...)``, which returns a Here that verbs are connected to. Its arguments are Here's."""

    def make(*instances, **options):
        made = Here(*instances, **options)
        monkeypatch.setattr(discovery, "connect", lambda config: made.catalog)
        monkeypatch.setattr(notify, "Bus", Bus)
        for module in (execute, logs, session, status):
            monkeypatch.setattr(module, "Fleet", lambda opts: made.minions)
        return made

    return make
