"""An instance as it is registered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.model import App, Probe, Source, Strategy
from saltdeploy.discovery import registration
from saltdeploy.node import portless

from tests.support.fleet import instance


def test_the_check_is_of_the_watcher_and_the_service_has_no_port():
    app = App("shop", Source("pip", "shop"), "run")
    service = registration.of(app, watched(), "e")
    assert service.port is None
    [check] = service.checks
    assert (check.kind, check.target, check.port) == ("http", "/running", 32001)
    # The check sees each restart: a process is not healthy for longer than it takes to ask again.
    assert check.interval < portless.SETTLE


def test_what_an_older_version_has_started_has_no_check():
    app = App("shop", Source("pip", "shop"), "run")
    assert registration.of(app, watched(None), "e").checks == ()


def watched(number=32001):
    """Return an instance without a port, whose watcher listens on this one."""
    return replace(instance("a", slot=0), port=None, watch=number)


CHECK = Probe("http", "/health", interval=3.0, timeout=4.0)
APP = App("shop", Source("pip", "shop"), "run", checks=(CHECK,), strategy=Strategy(healthy_deadline=300.0))


def test_an_instance_says_where_it_comes_from():
    service = registration.of(APP, instance("web1", "1.0", 20001), "site")
    assert (service.name, service.tags, service.checks) == ("shop", ("site", "1.0"), (CHECK,))
    assert service.meta["minion"] == "web1" and service.meta["environment"] == "site"
    assert service.expires is None


def test_a_candidate_has_a_name_that_no_client_looks_for():
    found = instance("web1", "1.0", 20001)
    service = registration.of(APP, found, "site", candidate=True, expires=600.0)
    assert (service.name, service.id) == ("shop-candidate", f"{found.id}_candidate")
    assert service.expires == 600.0


def test_an_instance_with_a_port_is_checked_by_a_connection_if_its_app_has_no_check():
    service = registration.of(replace(APP, checks=()), instance("web1", "1.0", 20001), "site")
    assert [check.kind for check in service.checks] == ["tcp"]


@pytest.mark.parametrize("deadline, seconds", [(300.0, 7.0), (5.0, 5.0)])
def test_a_first_result_comes_within_an_interval_and_a_timeout(deadline, seconds):
    app = replace(APP, strategy=Strategy(healthy_deadline=deadline))
    assert registration.first_result(app) == seconds
