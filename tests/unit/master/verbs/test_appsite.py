"""An app in an environment, as a verb sees it: which other services are tolerated."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import Refused

from tests.support.fleet import observe
from tests.support.verbs import Foreign, site_with


def test_what_keep_left_to_clients_once_is_tolerated_later_without_it():
    here = site_with(Foreign("legacy", "older", tolerated=["legacy on web1", "gone on web1"]))
    with pytest.raises(Refused, match="older on web1, which saltdeploy did not register") as refused:
        here.refuse_strangers(observe())
    assert "legacy" not in str(refused.value) and here.tolerated == {"legacy on web1"}
    here.refuse_strangers(observe(), keep=True)
    assert here.tolerated == {"legacy on web1", "older on web1"}
    here.tell_strangers(observe())
    assert here.tolerated == {"legacy on web1"}
