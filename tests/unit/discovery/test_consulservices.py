"""What is sent to Consul of a service, and what is read of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from saltdeploy.core import scriptchecks
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Probe
from saltdeploy.definition import probes
from saltdeploy.discovery import Endpoint, consulservices, registration

from tests.support.catalog import CHECK, SERVICE, entry


def test_registration():
    assert consulservices.registration(SERVICE) == {
        "ID": "shop_1_80",
        "Name": "shop",
        "Address": "10.0.0.1",
        "Port": 80,
        "Tags": ["test", "1"],
        "Meta": {"app": "shop"},
        "Checks": [
            {
                "Name": "http /health",
                "HTTP": "http://10.0.0.1:80/health",
                "Interval": "0.5s",
                "Timeout": "3s",
                "Status": "passing",
            }
        ],
    }


def test_registration_of_a_tcp_check():
    (check,) = consulservices.registration(replace(SERVICE, checks=(Probe("tcp", ""),)))["Checks"]
    assert check == {"Name": "tcp", "TCP": "10.0.0.1:80", "Interval": "2s", "Timeout": "5s", "Status": "passing"}


def test_a_check_that_takes_over_the_state_of_another_service_has_no_times():
    (check,) = consulservices.registration(replace(SERVICE, checks=(Probe("alias", "shop_1_80"),)))["Checks"]
    assert check == {"Name": "alias shop_1_80", "AliasService": "shop_1_80", "Status": "passing"}


def test_a_grpc_check_asks_the_port_for_a_service():
    secure = Request(host="shop.example.com:443", insecure=True)
    checks = (Probe("grpc", ""), Probe("grpc", "shop.v1"), Probe("grpc", "", request=secure))
    plain, service, tls = consulservices.registration(replace(SERVICE, checks=checks))["Checks"]
    times = {"Interval": "2s", "Timeout": "5s", "Status": "passing"}
    assert plain == {"Name": "grpc", "GRPC": "10.0.0.1:80", **times}
    assert service == {"Name": "grpc shop.v1", "GRPC": "10.0.0.1:80/shop.v1", **times}
    more = {"GRPCUseTLS": True, "TLSSkipVerify": True, "TLSServerName": "shop.example.com"}
    assert tls == {"Name": "grpc", "GRPC": "10.0.0.1:80", **more, **times}
    verified = consulservices.registration(replace(SERVICE, checks=(Probe("grpc", "", request=Request()),)))
    assert verified["Checks"][0] == {"Name": "grpc", "GRPC": "10.0.0.1:80", "GRPCUseTLS": True, **times}


def test_a_script_is_asked_for_at_the_watcher_and_named_without_its_arguments():
    probe = Probe("script", "./check --password hunter2", port=32001)
    (check,) = consulservices.registration(replace(SERVICE, checks=(probe,)))["Checks"]
    assert (check["Name"], check["HTTP"]) == (
        "script ./check",
        f"http://10.0.0.1:32001/script/{scriptchecks.key(probe)}",
    )
    # The watcher ends it after its timeout, and must still answer then.
    assert (check["Interval"], check["Timeout"]) == ("2s", "6s")


def test_a_changed_script_is_asked_for_elsewhere():
    """A result of the script before is no result of this one. Where it listens makes no difference."""
    one = Probe("script", "./check")
    others = (replace(one, target="./check -v"), replace(one, timeout=9.0), replace(one, interval=9.0))
    assert len({scriptchecks.path(p) for p in (one, *others)}) == 4
    assert scriptchecks.path(replace(one, port=32001)) == scriptchecks.path(one)


def test_a_check_that_the_app_reports_to_is_the_same_for_a_candidate_and_for_clients():
    """Its publication takes over the last report."""
    probe = Probe("ttl", "", interval=30.0, timeout=0.0)

    def check(**changes):
        service = registration.sealed(replace(SERVICE, checks=(probe,), **changes), b"key")
        return consulservices.registration(service)["Checks"][0]

    assert check() == {"CheckID": f"{SERVICE.id}:ttl", "Name": "ttl", "TTL": "30s", "Status": "passing"}
    assert check(id=f"{SERVICE.id}_candidate", name="shop-candidate") == check()


def test_what_is_not_proved_is_not_found_before_its_first_results():
    checks = (Probe("tcp", ""), Probe("grpc", ""))
    made = consulservices.registration(replace(SERVICE, checks=checks, expires=5.0), proved=False)["Checks"]
    # It expires by a check of its own, which is to last.
    assert [check["Status"] for check in made] == ["critical", "critical", "passing"]


def test_checks_of_an_ipv6_address():
    service = replace(SERVICE, address="fd00::11", checks=(CHECK, Probe("tcp", "")))
    registration = consulservices.registration(service)
    assert registration["Address"] == "fd00::11"
    assert registration["Checks"][0]["HTTP"] == "http://[fd00::11]:80/health"
    assert registration["Checks"][1]["TCP"] == "[fd00::11]:80"
    assert consulservices.endpoint(entry(Address="fd00::11")).host == "[fd00::11]"


def test_a_changed_check_has_an_id_of_its_own():
    """Consul would give it the last result of the check before."""

    def ids(service):
        return [
            check["CheckID"] for check in consulservices.registration(registration.sealed(service, b"key"))["Checks"]
        ]

    two = replace(SERVICE, checks=(Probe("tcp", ""), Probe("http", "/health")))
    other = replace(SERVICE, checks=(Probe("tcp", ""), Probe("http", "/ready")))
    assert len(set(ids(two)) | set(ids(other))) == 4
    weighed = replace(registration.sealed(two, b"key"), weight=5)
    assert [check["CheckID"] for check in consulservices.registration(weighed)["Checks"]] == ids(two)
    assert all(check.startswith(SERVICE.id + ":") for check in ids(two))


def test_registration_with_a_weight():
    """A check that warns takes nothing of it: users get what warns as they do without weights."""
    assert consulservices.registration(replace(SERVICE, weight=256))["Weights"] == {"Passing": 256, "Warning": 256}


def test_an_endpoint_has_its_weight():
    assert consulservices.endpoint(entry(Weights={"Passing": 256, "Warning": 1})).weight == 256


def test_registration_without_a_port():
    assert "Port" not in consulservices.registration(replace(SERVICE, port=None, checks=()))


def test_registration_that_expires():
    checks = consulservices.registration(replace(SERVICE, expires=600.0))["Checks"]
    assert checks[1] == {
        "Name": "expires",
        "TTL": "601s",
        "Status": "passing",
        "DeregisterCriticalServiceAfter": "1m",
    }


@pytest.mark.parametrize(
    "statuses, worst",
    [
        ((), "passing"),
        (("passing", "passing"), "passing"),
        (("passing", "warning"), "warning"),
        (("passing", "critical", "warning"), "critical"),
    ],
)
def test_an_endpoint_is_as_healthy_as_its_worst_check(statuses, worst):
    assert consulservices.endpoint(entry(*statuses)) == Endpoint("s1", "shop", "n1", "10.0.0.1", 80, ("a",), {}, worst)


def test_an_endpoint_without_an_address_has_its_node_s():
    assert consulservices.endpoint(entry(Address="", Tags=None)).address == "10.0.0.9"


@pytest.mark.parametrize(
    "text, seconds",
    [("700ms", 0.7), ("500µs", 0.0005), ("1m30.5s", 90.5), ("1h0m0s", 3600.0), ("", None), (None, None)],
)
def test_an_endpoint_has_the_times_of_its_checks(text, seconds):
    found = entry()
    found["Checks"] = [{"Name": "tcp", "Status": "passing", "ServiceID": "s1", "Interval": "2s", "Timeout": text}]
    assert consulservices.endpoint(found).checks == (("tcp", 2.0, seconds),)


def test_the_minion_of_an_endpoint_is_who_published_it():
    assert consulservices.endpoint(entry()).minion == "n1"
    assert consulservices.endpoint(entry(Meta={"minion": "web1"})).minion == "web1"


def test_an_endpoint_is_alive_while_the_agent_of_its_node_is():
    dead = {"CheckID": "serfHealth", "Status": "critical"}
    assert consulservices.endpoint(entry("critical")).alive
    assert not consulservices.endpoint({**entry("critical"), "Checks": [dead]}).alive


def test_an_endpoint_has_the_words_of_the_check_that_makes_it_so():
    found = entry("passing", "critical", "warning")
    for check, output in zip(found["Checks"], ("fine", "HTTP GET …: 404 Not Found", "slow")):
        check["Output"] = output
    assert consulservices.endpoint(found).output == "HTTP GET …: 404 Not Found"
    assert consulservices.endpoint(entry("passing")).output == ""


def test_a_check_may_be_of_another_port_than_the_service_has():
    watched = replace(SERVICE, port=None, checks=(replace(CHECK, port=32000),))
    assert consulservices.registration(watched)["Checks"][0]["HTTP"] == "http://10.0.0.1:32000/health"
    assert "Port" not in consulservices.registration(watched)


def checks_of(raw):
    return tuple(probes.parse(check, "checks") for check in raw)


def test_a_registration_without_details_is_as_it_was():
    """Byte for byte."""
    checks = checks_of([{"http": "/health", "interval": 1}, {"http": "/b?c=1", "timeout": "3s"}, {"tcp": True}])
    service = replace(SERVICE, checks=checks, weight=25600)
    assert json.dumps(consulservices.registration(service)) == (
        '{"ID": "shop_1_80", "Name": "shop", "Address": "10.0.0.1", "Tags": ["test", "1"], "Meta": {"app": "shop"},'
        ' "Checks": [{"HTTP": "http://10.0.0.1:80/health", "Name": "http /health",'
        ' "Interval": "1s", "Timeout": "5s", "Status": "passing"}, {"HTTP": "http://10.0.0.1:80/b?c=1", "Name":'
        ' "http /b?c=1", "Interval": "2s", "Timeout": "3s", "Status": "passing"}, {"TCP": "10.0.0.1:80", "Name": "tcp",'
        ' "Interval": "2s", "Timeout": "5s", "Status": "passing"}], "Port": 80, "Weights": {"Passing": 25600,'
        ' "Warning": 25600}}'
    )


def registered(check):
    [found] = consulservices.registration(replace(SERVICE, checks=checks_of([check])))["Checks"]
    return {k: v for k, v in found.items() if k not in ("Interval", "Timeout", "Status")}


def test_a_check_with_a_request():
    request = {"path": "/h", "host": "shop.example.com:8443", "method": "PUT", "headers": {"X": "hunter2"}, "body": "b"}
    assert registered({"https": {**request, "insecure": True, "redirects": True}}) == {
        "Name": "https /h",
        "HTTP": "https://10.0.0.1:80/h",
        "Header": {"X": ["hunter2"], "Host": ["shop.example.com:8443"]},
        "Method": "PUT",
        "Body": "b",
        "TLSSkipVerify": True,
        "TLSServerName": "shop.example.com",
    }
    assert registered({"https": "/h"}) == {
        "Name": "https /h",
        "HTTP": "https://10.0.0.1:80/h",
        "DisableRedirects": True,
    }
    assert registered({"http": {"path": "/h", "host": "shop.example.com"}}) == {
        "Name": "http /h",
        "HTTP": "http://10.0.0.1:80/h",
        "Header": {"Host": ["shop.example.com"]},
        "DisableRedirects": True,
    }


def test_a_check_with_thresholds():
    assert registered({"tcp": True, "success_before_passing": 2, "failures_before_critical": 3}) == {
        "Name": "tcp",
        "TCP": "10.0.0.1:80",
        "SuccessBeforePassing": 2,
        "FailuresBeforeCritical": 3,
    }
    assert registered({"tcp": True, "success_before_passing": 1}) == {"Name": "tcp", "TCP": "10.0.0.1:80"}
