"""The state of an app, or of all apps, whether it is defined or not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import DONE, Refused
from saltdeploy.discovery import Endpoint
from saltdeploy.master.verbs import status

from tests.support.fleet import instance
from tests.support.verbs import recorded

ONE = instance("web1")
RECORD = recorded("1.0", {"web1": [ONE.id]})
TILL = recorded("3.0", {"web2": ["till_3.0_200"]})


def names(result):
    return [(app["app"], app["defined"], len(app["instances"])) for app in result["apps"]]


def test_all_apps_are_shown_also_those_that_nobody_defines_any_more(here):
    made = here(ONE, record=RECORD, keys={"deploy/e/till/current": TILL})
    result = status.run(made.session, None, None)
    assert (names(result), result["retcode"]) == ([("shop", True, 1), ("till", False, 1)], DONE)


def test_an_app_without_a_record_is_found_by_its_instances(here):
    made = here(ONE, record=RECORD)
    about = {"minion": "web2", "environment": "e", "app": "till", "version": "3.0"}
    made.catalog.found.append(Endpoint("till_3.0_200", "till", "web2", "127.0.0.1", 200, meta=about))
    assert names(status.run(made.session, "till", None)) == [("till", False, 1)]


def test_an_app_that_nobody_knows_is_refused(here):
    with pytest.raises(Refused, match="^unknown app 'till' in environment e"):
        status.run(here().session, "till", None)


def test_mistakes_in_the_definitions_of_others_are_warnings(here):
    made = here(ONE, record=RECORD)
    made.environment = replace(made.environment, broken={"mail": "apps:mail:ports: is wrong. Write a range."})
    status.run(made.session, "shop", None)
    assert made.session.journal.warnings == ["left out, because of mistakes in them: mail (apps:mail:ports: is wrong)"]
    assert [app["app"] for app in status.run(made.session, None, None)["apps"]] == ["mail", "shop"]
