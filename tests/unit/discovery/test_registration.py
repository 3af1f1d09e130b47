"""An instance as it is registered."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import App, Probe, Registration, Source, Strategy
from saltdeploy.discovery import Endpoint, Service, registration
from saltdeploy.node import portless

from tests.support.fleet import instance

KEY = b"a node's own key"


def test_the_check_is_of_the_watcher_and_the_service_has_no_port():
    app = App("shop", Source("pip", "shop"), "run")
    service = registration.of(app, watched(), "e", KEY)
    assert service.port is None
    [check] = service.checks
    assert (check.kind, check.target, check.port) == ("http", "/running", 32001)
    # The check sees each restart: a process is not healthy for longer than it takes to ask again.
    assert check.interval < portless.SETTLE


def test_what_an_older_version_has_started_has_no_check():
    app = App("shop", Source("pip", "shop"), "run")
    assert registration.of(app, watched(None), "e", KEY).checks == ()


def test_an_app_without_ports_runs_whatever_else_is_checked():
    checks = (Probe("ttl", "", interval=30.0), Probe("script", "./check"))
    app = App("shop", Source("pip", "shop"), "run", checks=checks)
    found = registration.of(app, watched(), "e", KEY).checks
    assert [(c.kind, c.port) for c in found] == [("http", 32001), ("ttl", None), ("script", 32001)]


def test_a_script_needs_a_watcher():
    """An instance that was started before the app had any script has none, and is replaced."""
    app = App("shop", Source("pip", "shop"), "run", checks=(Probe("script", "./check"),))
    with_port = instance("a", slot=80)
    assert registration.of(app, with_port, "e", KEY).checks == (Probe("tcp", ""),)
    assert registration.of(app, replace(with_port, watch=32001), "e", KEY).checks == (
        Probe("script", "./check", port=32001),
    )


def test_a_report_may_come_at_any_time():
    app = App("shop", Source("pip", "shop"), "run", checks=(Probe("ttl", "", interval=90.0),))
    assert registration.first_result(app) == registration.first_result(replace(app, checks=()))
    assert registration.ttl_check("shop_1.0_80") == "shop_1.0_80:ttl"


def watched(number=32001):
    """Return an instance without a port, whose watcher listens on this one."""
    return replace(instance("a", slot=0), port=None, watch=number)


CHECK = Probe("http", "/health", interval=3.0, timeout=4.0)
APP = App("shop", Source("pip", "shop"), "run", checks=(CHECK,), strategy=Strategy(healthy_deadline=300.0))


def test_an_instance_says_where_it_comes_from():
    service = registration.of(APP, instance("web1", "1.0", 20001), "site", KEY)
    assert (service.name, service.tags, service.checks) == ("shop", ("site", "1.0"), (CHECK,))
    assert service.meta["minion"] == "web1" and service.meta["environment"] == "site"
    assert service.expires is None


def test_clients_see_the_release_whatever_its_settings_are():
    service = registration.of(APP, instance("web1", "1.0@7", 20001), "site", KEY)
    assert (service.id, service.tags, service.meta["version"]) == ("shop_1.0_20001-7", ("site", "1.0"), "1.0")


def test_a_candidate_has_a_name_that_no_client_looks_for():
    found = instance("web1", "1.0", 20001)
    service = registration.of(APP, found, "site", KEY, candidate=True, expires=600.0)
    assert (service.name, service.id) == ("shop-candidate", f"{found.id}_candidate")
    assert service.expires == 600.0


def test_an_instance_with_a_port_is_checked_by_a_connection_if_its_app_has_no_check():
    service = registration.of(replace(APP, checks=()), instance("web1", "1.0", 20001), "site", KEY)
    assert [check.kind for check in service.checks] == ["tcp"]


@pytest.mark.parametrize("deadline, seconds", [(300.0, 7.0), (5.0, 5.0)])
def test_a_first_result_comes_within_an_interval_and_a_timeout(deadline, seconds):
    app = replace(APP, strategy=Strategy(healthy_deadline=deadline))
    assert registration.first_result(app) == seconds


def test_a_definition_adds_tags_and_metadata_with_its_placeholders():
    added = Registration(("web", "Host(`{app}.example.com`)", "{id}"), {"team": "red", "at": "{address}:{port}"})
    service = registration.of(replace(APP, service=added), instance("web1", "1.0", 20001), "site", KEY)
    assert service.tags == ("site", "1.0", "web", "Host(`shop.example.com`)", "{id}")
    assert (service.meta["team"], service.meta["at"], service.meta["app"]) == ("red", "127.0.0.1:20001", "shop")


def test_a_program_that_reads_tags_finds_no_candidate():
    """Traefik and Fabio send requests to each service with their tags, whatever its name is."""
    added = Registration(("urlprefix-/shop",), {"team": "red"})
    service = registration.of(replace(APP, service=added), instance("web1", "1.0", 20001), "site", KEY, candidate=True)
    assert service.tags == ("site", "1.0") and "team" not in service.meta


NAMED = replace(APP, service=Registration(("web",), {"team": "red"}, "front"))


def test_an_instance_is_found_under_a_second_name_that_has_the_additions():
    there = instance("web1", "1.0", 20001)
    own, also = registration.all_of(NAMED, there, "site", KEY)
    assert (own.id, own.name, own.tags) == (there.id, "shop", ("site", "1.0")) and "team" not in own.meta
    assert (also.id, also.name, also.tags) == (f"{there.id}_named", "front", ("site", "1.0", "web"))
    assert also.meta["team"] == "red" and (also.address, also.port) == (own.address, own.port)
    # It passes as long as the first does, which has the checks.
    assert own.checks == (CHECK,) and also.checks == (Probe("alias", there.id),)
    assert registration.all_of(APP, there, "site", KEY) == [registration.of(APP, there, "site", KEY)]
    assert {registration.instance_of(i) for i in (own.id, also.id, f"{own.id}_candidate")} == {there.id}


# -- whether it is as defined -------------------------------------------------------------------

SERVICE = Service("shop_1_80", "shop", "10.0.0.1", 80, ("test", "1"), {"app": "shop"}, (CHECK,))


def digest(service, key=KEY):
    return registration.sealed(service, key).meta["digest"]


def test_the_digest_is_of_the_whole_registration_and_of_the_key_of_the_node():
    changes = [
        {"id": "x"},
        {"name": "x"},
        {"address": "x"},
        {"port": 81},
        {"tags": ("test",)},
        {"meta": {"app": "x"}},
        {"checks": (replace(CHECK, interval=1.0),)},
        {"checks": (replace(CHECK, request=Request(headers={"X-Token": "a"})),)},
        {"checks": (replace(CHECK, request=Request(headers={"X-Token": "b"})),)},
        {"expires": 1.0},
        {"weight": 2},
    ]
    digests = {digest(replace(SERVICE, **change)) for change in changes}
    assert digest(SERVICE) == digest(replace(SERVICE))
    assert len(digests | {digest(SERVICE), digest(SERVICE, b"another node's")}) == len(changes) + 2


def test_the_digest_does_not_depend_on_the_order_of_metadata():
    one, other = (dict.fromkeys(keys, "v") for keys in ("ab", "ba"))
    assert digest(replace(SERVICE, meta=one)) == digest(replace(SERVICE, meta=other))


def seen(service, **changes):
    found = Endpoint(service.id, service.name, "web1", service.address, service.port, service.tags, service.meta)
    return replace(found, **changes)


@pytest.mark.parametrize(
    "app, changes, count, parts",
    [
        ({}, {}, 1, []),
        ({}, {"weight": 5}, 1, []),  # weights are put right by themselves
        ({"service": Registration(("web",))}, {}, 1, ["tags"]),
        ({"service": Registration(meta={"team": "red"})}, {}, 1, ["meta"]),
        ({"service": Registration(("web",), {"team": "red"})}, {}, 1, ["tags", "meta"]),
        ({"checks": (replace(CHECK, target="/ready"),)}, {}, 1, ["checks"]),
        ({"checks": (CHECK, Probe("tcp", ""))}, {}, 1, ["checks"]),
        ({"checks": (CHECK, Probe("tcp", "")), "service": Registration(("web",))}, {}, 1, ["tags", "checks"]),
        # By hand:
        ({}, {"tags": ("site",)}, 1, ["tags"]),
        ({}, {"meta": {}}, 1, ["meta"]),
        ({}, {"name": "other"}, 1, ["name"]),
        ({}, {}, 0, ["checks"]),
    ],
)
def test_the_parts_of_a_registration_that_differ_are_named(app, changes, count, parts):
    there = instance("web1", "1.0", 20001)
    registered = {there.id: seen(registration.of(APP, there, "site", KEY), **changes)}
    wanted = registration.all_of(replace(APP, **app), there, "site", KEY)
    assert registration.differences(wanted, registered, {there.id: count}, there.id) == parts


@pytest.mark.parametrize(
    "before, now, parts",
    [
        (NAMED, NAMED, []),
        (APP, replace(APP, service=Registration(name="front")), ["name"]),
        (replace(APP, service=Registration(name="front")), APP, ["name"]),
        (NAMED, replace(NAMED, service=replace(NAMED.service, name="back")), ["name"]),
        (NAMED, replace(NAMED, service=replace(NAMED.service, tags=())), ["tags"]),
        # The additions go from the second name to the first.
        (NAMED, replace(NAMED, service=replace(NAMED.service, name="")), ["tags", "meta", "name"]),
        (NAMED, replace(NAMED, checks=(replace(CHECK, target="/ready"),)), ["checks"]),
    ],
)
def test_so_are_the_parts_of_its_second_name(before, now, parts):
    there = instance("web1", "1.0", 20001)
    registered = {s.id: seen(s) for s in registration.all_of(before, there, "site", KEY)}
    wanted = registration.all_of(now, there, "site", KEY)
    assert registration.differences(wanted, registered, dict.fromkeys(registered, 1), there.id) == parts
    own, also = in_catalog(before), registered.get(f"{there.id}_named")
    # The master does not look for a name that the definition does not have.
    told = [part for part in parts if part != "name" or now.service.name]
    assert registration.differences_in_catalog(now, own, also if now.service.name else None, "site") == told


def in_catalog(app=APP, times=(3.0, 4.0), **changes):
    service = registration.of(app, instance("web1", "1.0", 20001), "site", KEY)
    checks = registration.check_facts((registration.check_name(check), *times) for check in service.checks)
    return seen(service, **{"node": "web1", "checks": checks, **changes})


@pytest.mark.parametrize(
    "app, changes, parts",
    [
        ({}, {}, []),
        ({}, {"times": (None, None)}, []),  # Consul before 1.10 does not tell them
        ({"checks": ()}, {"app": replace(APP, checks=()), "times": (2.0, 5.0)}, []),
        ({"service": Registration(("web",), {"team": "red"})}, {}, ["tags", "meta"]),
        ({"checks": (replace(CHECK, target="/ready"),)}, {}, ["checks"]),
        ({"checks": (replace(CHECK, interval=9.0),)}, {}, ["checks"]),
        ({"checks": (CHECK, Probe("tcp", ""))}, {}, ["checks"]),
        ({}, {"tags": ("by hand",)}, ["tags"]),
        ({}, {"checks": ()}, ["checks"]),
    ],
)
def test_the_catalog_tells_the_master_which_parts_differ(app, changes, parts):
    assert registration.differences_in_catalog(replace(APP, **app), in_catalog(**changes), None, "site") == parts


def test_checks_are_compared_in_the_same_order_and_with_the_same_digits():
    slow, fast = replace(CHECK, interval=10.0, timeout=0.7), replace(CHECK, interval=5.0, timeout=1.23456789)
    app = replace(APP, checks=(slow, fast))
    endpoint = replace(
        in_catalog(app),
        checks=registration.check_facts([("http /health", 10.0, 700 * 0.001), ("http /health", 5.0, 1.23457)]),
    )
    assert registration.differences_in_catalog(app, endpoint, None, "site") == []
    other = replace(app, checks=(slow, replace(fast, timeout=1.3)))
    assert registration.differences_in_catalog(other, endpoint, None, "site") == ["checks"]


def test_facts_of_checks_without_times_have_an_order_too():
    assert registration.check_facts([("tcp", 2.0, 5.0), ("tcp", None, None), ("http /", None, None)]) == (
        ("http /", None, None),
        ("tcp", None, None),
        ("tcp", 2.0, 5.0),
    )


def test_an_app_without_ports_has_a_watcher_that_the_master_does_not_know():
    app = App("shop", Source("pip", "shop"), "run")
    service = registration.of(app, watched(), "e", KEY)
    endpoint = seen(service, node="a", port=0, checks=(("http /running", 2.0, 5.0),))
    assert registration.differences_in_catalog(app, endpoint, None, "e") == []
    assert registration.differences_in_catalog(app, replace(endpoint, checks=()), None, "e") == []
