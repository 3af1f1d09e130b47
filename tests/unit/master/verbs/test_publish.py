"""Which candidates a publication is about."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import publish

from tests.support.fleet import held, instance
from tests.support.verbs import ABOUT, recorded

OLD, NEW, NEWER = instance("web1"), held("web2"), instance("web3", "3.0", published=False, held=True)
RECORD = recorded("1.0", {"web1": [OLD.id]})


def published(made, version=None):
    """Return the result of a dry run."""
    return publish.run(made.session, "shop", None, version, 1, None, True, False, None, False)


def test_of_candidates_of_several_releases_the_operator_chooses_one(here):
    made = here(OLD, NEW, NEWER, record=RECORD)
    with pytest.raises(Refused) as refused:
        published(made)
    assert str(refused.value) == (
        "candidates of several releases wait. Choose one: version=\"'2.0'\" or version=\"'3.0'\""
    )
    assert published(made, "3.0")["version"] == "3.0"


def test_the_only_candidates_need_no_version(here):
    result = published(here(OLD, NEW, record=RECORD))
    assert (result["retcode"], result["version"]) == (DONE, "2.0")
    assert any(f"publish {NEW.id} on web2" in line for line in result["plan"]), result["plan"]


def test_without_candidates_and_without_a_version_it_asks_for_the_version(here):
    with pytest.raises(Refused, match="^which version of shop"):
        published(here(OLD, record=RECORD))


def test_a_paused_deployment_comes_first(here):
    made = here(OLD, NEW, record={**RECORD, "version": "2.0", "paused": ABOUT})
    with pytest.raises(Refused, match="^shop 2.0 is paused after its first wave"):
        published(made)


def test_of_candidates_with_other_settings_those_of_the_newest_deployment_are_published(here):
    """Their number may be the lower one: they are those of before again."""
    first = instance("web2", "2.0@4", published=False, held=True, deployment="20261129-1")
    second = instance("web3", "2.0@3", published=False, held=True, deployment="20261129-2")
    result = published(here(OLD, first, second, record=RECORD))
    assert result["version"] == "2.0@3" and f"publish {second.id} on web3" in str(result["plan"])
    # What a killed run has published already is of these settings, too.
    new = instance("web3", "2.0@3", deployment="20261129-2")
    result = published(here(OLD, new, record=RECORD), "2.0")
    assert result["version"] == "2.0@3" and f"retire {OLD.id} on web1" in str(result["plan"])
