"""Which installed releases are more than an app keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.errors import NOT_REVERTED
from saltdeploy.master.verbs import oldreleases

from tests.support.fleet import instance, make_app
from tests.support.verbs import entry

INSTALLED = ["1.0", "1.1", "1.2", "1.3", "2.0"]


def going(here, keep, *history, instances=(instance("web1", "2.0"),), left=()):
    app = make_app()
    app = replace(app, strategy=replace(app.strategy, keep_releases=keep))
    made = here(*instances, app=app, history=history, releases={"web1": INSTALLED, "web2": ["2.0"]})
    with made.session.whole_site(made.environment, app) as site:
        return oldreleases.beyond_kept(site, made.observed, "2.0", left)


def test_the_oldest_go_first_on_each_node(here):
    assert going(here, 3) == {"web1": ("1.0", "1.1")}
    assert going(here, 5) == {}


def test_the_target_of_a_rollback_stays_even_if_it_is_the_oldest(here):
    assert going(here, 2, entry("1.0"), entry("2.0")) == {"web1": ("1.1", "1.2", "1.3")}


def test_a_release_that_a_rollback_leaves_is_no_target(here):
    history = [entry("1.0"), entry("1.1"), entry("2.0")]
    assert going(here, 2, *history, left=("1.1",)) == {"web1": ("1.1", "1.2", "1.3")}
    assert going(here, 2, *history) == {"web1": ("1.0", "1.2", "1.3")}


def test_a_release_that_runs_stays(here):
    both = (instance("web1", "2.0"), instance("web1", "1.0", slot=101))
    assert going(here, 2, instances=both) == {"web1": ("1.1", "1.2", "1.3")}


@pytest.mark.parametrize("code, record", [(NOT_REVERTED, None), (1, None)])
def test_an_entry_whose_record_nobody_knows_is_no_target(here, code, record):
    unknown = entry("1.0", retcode=code, record=record)
    assert going(here, 1, unknown, entry("2.0")) == {"web1": ("1.0", "1.1", "1.2", "1.3")}
