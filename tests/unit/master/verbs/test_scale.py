"""How many instances of which release a scaling is about."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import scale

from tests.support.fleet import instance
from tests.support.verbs import ABOUT, recorded

ON_WEB1 = instance("web1")
RECORD = recorded("1.0", {"web1": [ON_WEB1.id]})


def scaled(made, instances):
    """Return the result of a dry run."""
    return scale.run(made.session, "shop", None, instances, True, None, False)


def test_the_number_must_be_said(here):
    with pytest.raises(Refused, match=r"^how many of shop\? Say instances=, the definition has 1\.$"):
        scaled(here(ON_WEB1, record=RECORD), None)


def test_an_app_that_is_not_deployed_cannot_be_scaled(here):
    with pytest.raises(Refused, match="^shop is not deployed in e: salt-run deploy.app shop env=e$"):
        scaled(here(), 2)


def test_nothing_is_scaled_while_a_deployment_is_paused(here):
    """Not even where another deployment may replace the paused one: which release is to be scaled?"""
    made = here(ON_WEB1, record={**RECORD, "version": "2.0", "paused": ABOUT})
    with pytest.raises(Refused, match="^shop 2.0 is paused after its first wave.*salt-run deploy.promote shop env=e"):
        scaled(made, 2)


def test_more_instances_of_the_recorded_release_are_started(here):
    result = scaled(here(ON_WEB1, record=RECORD, releases={"web1": ["1.0", "2.0"]}), 2)
    assert (result["retcode"], result["version"]) == (DONE, "1.0")
    assert result["plan"] == ["install shop 1.0 on web2", "wave 1: start, test and publish 1 on web2"]


def test_an_edit_that_nobody_has_deployed_is_not_brought_in_without_a_word(here):
    """Only web1 has kept the settings that are deployed."""
    there = instance("web1", "1.0@3")
    record = recorded("1.0@3", {"web1": [there.id]})
    made = here(there, record=record, releases={"web1": ["1.0"]}, editions={"web1": {"1.0@3": {"env": ["LEVEL"]}}})
    result = scaled(made, 2)
    assert (result["version"], made.compared) == ("1.0@3", "1.0")
    assert result["plan"][0] == (
        "web2: shop starts with the settings of now, which differ in env: LEVEL, because those of 1.0 (settings 3) are"
        " not kept there"
    )
