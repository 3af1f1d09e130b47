"""Approvals: who may give one, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.conditions import Approvals, Conditions
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.master.verbs import approve

KEY = "deploy/e/shop/approvals/ann"


@pytest.fixture
def asked(here):
    """An environment that needs two approvals. The session is Ann's."""
    made = here()
    conditions = Conditions(Approvals(("ann", "bob"), 2))
    made.environment = replace(made.environment, conditions=conditions)
    return made


def test_the_last_approval_of_a_person_is_kept(asked):
    for version in ("2.0", "2.1"):
        result = approve.run(asked.session, "shop", version, None, "looks good")
    assert result["verdict"] == "ann approves shop 2.1 in e: 1 of 2" and result["retcode"] == DONE
    kept = asked.catalog.values[KEY]
    assert (kept["version"], kept["by"], kept["reason"]) == ("2.1", asked.session.owner, "looks good")
    asked.catalog.values["deploy/e/shop/approvals/bob"] = {"version": "2.1"}
    assert approve.run(asked.session, "shop", "2.1", None, "")["approved_by"] == ["ann", "bob"]


@pytest.mark.parametrize("version", ["../x", ["1"], 2.0, True])
def test_a_version_that_is_none_is_refused(asked, version):
    with pytest.raises(Refused):
        approve.run(asked.session, "shop", version, None, "")
    assert KEY not in asked.catalog.values


def test_only_people_of_the_list_approve(asked):
    asked.session.owner = "mallory@m"
    with pytest.raises(Refused, match="^mallory@m may not approve in e: approvals:by has ann, bob."):
        approve.run(asked.session, "shop", "2.0", None, "")
    asked.environment = replace(asked.environment, conditions=Conditions())
    with pytest.raises(Refused, match="^e needs no approvals: see environments:e:approvals."):
        approve.run(asked.session, "shop", "2.0", None, "")
    assert asked.catalog.values == {}


def test_an_approval_that_somebody_overtakes_is_told(asked):
    asked.catalog.replace = lambda key, value, index: False
    with pytest.raises(Refused, match="^somebody else approves as ann at this moment"):
        approve.run(asked.session, "shop", "2.0", None, "")
