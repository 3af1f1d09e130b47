"""When an environment is open, and who has approved a release."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest
from saltdeploy.core.conditions import DAYS, Approvals, Conditions, Window
from saltdeploy.core.environment import Environment
from saltdeploy.master import conditions

from tests.support.fleet import make_app
from tests.support.verbs import Catalog

BERLIN = Window(9 * 60, 16 * 60, ("mon", "tue"), "Europe/Berlin")
NIGHT = Window(22 * 60, 24 * 60, DAYS)


def environment(*windows, approvals=Approvals()):
    return Environment("site", {}, {}, conditions=Conditions(approvals, windows))


def at(text, zone="Europe/Berlin"):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    "moment, is_open",
    [
        (at("2026-11-30 09:00"), True),  # a Monday
        (at("2026-11-30 08:59"), False),
        (at("2026-11-30 15:59:59"), True),
        (at("2026-11-30 16:00"), False),
        (at("2026-12-02 10:00"), False),
        (at("2026-11-30 08:30", "UTC"), True),
        # In summer, Berlin is another hour ahead.
        (at("2026-07-06 07:30", "UTC"), True),
        (at("2026-07-06 14:30", "UTC"), False),
        (at("2026-12-02 23:59:59", "UTC"), True),
        (at("2026-12-03 00:00", "UTC"), False),
    ],
)
def test_an_environment_is_open_in_any_of_its_windows(moment, is_open):
    found = conditions.closed(environment(BERLIN, NIGHT), moment)
    assert (found == "") is is_open
    if found:
        windows = "mon, tue 09:00-16:00 Europe/Berlin; every day 22:00-24:00 UTC"
        assert found == f"site is closed now. It is open {windows}"


def test_an_environment_without_windows_is_always_open():
    assert conditions.closed(environment(), 0) == ""


def approved(**versions):
    return Catalog({f"deploy/site/shop/approvals/{name}": {"version": v} for name, v in versions.items()})


@pytest.mark.parametrize(
    "versions, owner, people, missing",
    [
        ({}, "eve@m", [], "2 more of ann, bob"),
        ({"ann": "1.0", "bob": "1.0"}, "eve@m", ["ann", "bob"], ""),
        ({"ann": "1.0", "bob": "0.9"}, "eve@m", ["ann"], "1 more of bob must"),
        # Whoever deploys it does not approve it.
        ({"ann": "1.0", "bob": "1.0"}, "bob@m", ["ann"], "1 more of eve must"),
        ({"ann": "1.0", "mallory": "1.0"}, "eve@m", ["ann"], "1 more of bob must"),
    ],
)
def test_a_release_needs_so_many_approvals_of_others(versions, owner, people, missing):
    here = environment(approvals=Approvals(("ann", "bob", "eve"), 2))
    found = conditions.approved_by(approved(**versions), "deploy/site/shop/", here.conditions, "1.0", owner)
    assert found == people
    said = conditions.unapproved(here, make_app(), "1.0@3", found, owner)
    assert (missing in said) if missing else said == ""
    assert not missing or "`salt-run deploy.approve shop version=" in said


@pytest.mark.parametrize(
    "owner, name", [("ann@master", "ann"), ("ann@corp.example@master", "ann@corp.example"), ("root@m", "root")]
)
def test_a_person_is_all_of_the_name_that_salt_knows(owner, name):
    assert conditions.person(owner) == name


def test_force_goes_beyond_the_windows_and_is_kept():
    here, sunday = environment(BERLIN), at("2026-11-29 10:00")
    closed = "site is closed now. It is open mon, tue 09:00-16:00 Europe/Berlin"
    assert conditions.refused(here, False, sunday) == ([f"{closed}. Wait, or say force=True with reason="], {})
    assert conditions.refused(here, True, sunday) == ([], {"forced": closed})
    assert conditions.refused(here, True, at("2026-11-30 10:00")) == ([], {})


def test_a_value_that_is_no_approval_does_not_count():
    odd = Catalog({f"deploy/site/shop/approvals/{name}": value for name, value in (("ann", "1.0"), ("bob", ["1.0"]))})
    here = environment(approvals=Approvals(("ann", "bob")))
    assert conditions.approved_by(odd, "deploy/site/shop/", here.conditions, "1.0") == []


def test_an_environment_without_people_needs_no_approval():
    assert conditions.unapproved(environment(), make_app(), "1.0", [], "ann@m") == ""
