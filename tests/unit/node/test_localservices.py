"""Services in discovery that are not apps, and what a node says of its own discovery."""

from __future__ import annotations

import pytest
from saltdeploy.core.errors import Refused
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import Probe
from saltdeploy.node import localservices

PILLAR = {
    "apps": {
        "shop": {"source": {"pip": "shop"}, "run": "shop", "user": "shop", "ports": 80, "frontend": {"port": 8080}}
    },
    "environments": {
        "test": {
            "nodes": {"web1": {"address": "10.0.0.11"}},
            "apps": {"shop": {"version": "1.0"}},
            "dns": {"upstream": ["10.0.0.53", "[fd00::53]:5353"]},
        }
    },
}


def refused(function, *args, **kwargs):
    with pytest.raises(Refused) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def service(**given):
    return localservices.service("web1", PILLAR, "postgres", **given)


def test_names_and_addresses_are_explained_in_words():
    assert "Write a name of a-z, 0-9 and -: my-db." in refused(localservices.service, "web1", {}, "my_db")
    assert refused(localservices.identifier, "a/b").endswith("Write at most 255 letters, digits and . _ ~ + = : @ -")
    assert refused(service, address="a b").endswith("is not an address. Write an IP address.")


@pytest.mark.parametrize("weight", [0, 65536, "5", 1.0, True])
def test_a_weight_that_discovery_cannot_have(weight):
    with pytest.raises(Refused, match="of postgres is not a whole number from 1 to 65535"):
        localservices.check_weight("postgres", weight)


def test_a_service_is_by_default_at_the_node_s_address_and_its_port_is_checked():
    found = service(port=5432)
    assert (found.id, found.name, found.address, found.port) == ("postgres", "postgres", "10.0.0.11", 5432)
    assert found.checks == (Probe("tcp", ""),) and found.meta == {"minion": "web1"} and found.weight is None
    assert service().checks == () == service(port=5432, checks=[]).checks


def test_a_service_has_what_is_given():
    given = {"service_id": "db-1", "address": "10.0.0.9", "tags": ["a"], "meta": {"rack": 7}, "weight": 3}
    found = service(port=1, checks=[{"http": "/health", "interval": "500ms", "timeout": 2}, {"tcp": True}], **given)
    assert (found.id, found.address, found.tags, found.weight) == ("db-1", "10.0.0.9", ("a",), 3)
    assert found.meta == {"minion": "web1", "rack": "7"}
    assert found.checks == (Probe("http", "/health", interval=0.5, timeout=2.0), Probe("tcp", ""))


@pytest.mark.parametrize(
    "check",
    [
        "tcp",
        None,
        {"http": ["/"]},
        {"tcp": False},
        {"tcp": True, "interval": "soon"},
        {"tcp": True, "interval": None},
        {"http": "/", "timeout": {}},
        {"http": "/", "timeout": "1.2.3s"},
        {"https": 5},
        {"tcp": True, "failures_before_critical": "3"},
        {"tcp": True, "success_before_passing": 0},
        {"tcp": True, "success_before_passing": 101},
        {"http": {"path": "/", "headers": {"X": 5}}},
        {"https": {"host": "x"}},
    ],
)
def test_anything_that_is_not_a_check_is_named(check):
    said = refused(service, port=1, checks=[{"tcp": True}, check])
    assert said.startswith("service postgres: check 1: ") and "is not a check. Write a check as in" in said


def test_a_check_may_have_a_request():
    request = {"path": "/h", "headers": {"X": "hunter2"}, "method": "HEAD", "redirects": True}
    [check] = service(port=1, checks=[{"https": request, "failures_before_critical": 3}]).checks
    asked = Request(method="HEAD", headers={"X": "hunter2"}, redirects=True)
    assert check == Probe("https", "/h", request=asked, failures_before_critical=3)


def test_a_check_may_be_of_grpc_or_wait_for_reports():
    grpc = {"grpc": {"service": "shop.v1", "tls": True, "host": "shop.example.com"}}
    assert service(port=1, checks=[grpc, {"grpc": True}, {"ttl": "30s"}]).checks == (
        Probe("grpc", "shop.v1", request=Request(host="shop.example.com")),
        Probe("grpc", ""),
        Probe("ttl", "", interval=30.0, timeout=0.0),
    )


def test_a_wrong_check_is_told_without_its_request():
    said = refused(service, port=1, checks=[{"https": {"headers": {"X": "hunter2"}}, "interval": "soon"}])
    assert "hunter2" not in said and "{'interval': 'soon'} is not a check" in said


@pytest.mark.parametrize(
    "check, said",
    [
        ({"http": {"path": "/", "contains": "x"}}, "check 0:http:contains: Consul does not look for text in a check"),
        ({}, "needs exactly one of http, https, tcp, grpc and ttl, found none"),
        ({"tcp": True, "http": "/"}, "needs exactly one of http, https, tcp, grpc and ttl"),
        ({"grpc": {"insecure": True}}, "check 0:grpc:insecure: has no meaning without TLS. Write `tls: true`"),
        ({"ttl": "30s", "interval": "5s"}, "check 0:interval: has no meaning with `ttl`"),
        ({"tcp": True, "interval": 0}, "is too short"),
    ],
)
def test_a_check_that_is_wrong_has_the_message_of_a_definition(check, said):
    assert said in refused(service, port=1, checks=[check])


@pytest.mark.parametrize(
    "check, said",
    [
        (
            {"http": "/", "failure_before_critical": 3},
            "check 0: unknown key failure_before_critical (did you mean `failures_before_critical`?). Allowed: http,"
            " https, success_before_passing, failures_before_critical, tcp, grpc, ttl, interval, timeout.",
        ),
        ({"http": "/", "headers": {"A": "hunter2"}}, "check 0: unknown key headers. Allowed: http, https,"),
        ({"http": "/", 5: 6}, "check 0: unknown key 5. Allowed: http,"),
        # Nobody would run it.
        ({"script": "/bin/true"}, "check 0: unknown key script. Allowed: http,"),
        ({"grpc": {"path": "/"}}, "check 0:grpc: unknown key path. Allowed: service, tls, host, insecure."),
        ({"grpc": {"service": "a b"}}, "check 0:grpc:service: found text of another form. Write the name of a gRPC"),
        (
            {"http": {"path": "/", "redirect": True}},
            "check 0:http: unknown key redirect (did you mean `redirects`?). Allowed: path, host, method, headers,"
            " body, redirects, insecure.",
        ),
        (
            {"http": "health"},
            "check 0:http:path: found text of another form. Write a path that begins with /, without blanks.",
        ),
        (
            {"https": {"path": "x"}},
            "check 0:https:path: found text of another form. Write a path that begins with /, without blanks.",
        ),
        ({"http": {"path": "/", "host": "a\nb"}}, "check 0:http:host: found text of another form. Write a host name"),
        ({"http": {"path": "/", "host": "a\n"}}, "check 0:http:host: found text of another form. Write a host name"),
        ({"http": {"path": "/", "method": "get"}}, "check 0:http:method: 'get' is not "),
        (
            {"http": {"path": "/", "headers": {"A\nB": "hunter2"}}},
            "check 0:http:headers: found text of another form.",
        ),
        ({"http": {"path": "/", "headers": {"A": "b\nhunter2"}}}, "check 0:http:headers:A: has a character"),
    ],
)
def test_unknown_keys_and_other_forms_are_refused_by_name(check, said):
    found = refused(service, port=1, checks=[check])
    assert found.startswith(f"service postgres: {said}") and "hunter2" not in found


def test_a_fault_of_ours_is_no_wrong_check(monkeypatch):
    def fault(*args, **kwargs):
        raise KeyError("kind")

    monkeypatch.setattr(localservices.probes, "parse", fault)
    with pytest.raises(KeyError):
        service(port=1, checks=[{"tcp": True}])


def test_unknown_arguments_and_odd_ports_are_refused():
    assert refused(service, prot=1).startswith("unknown argument prot: allowed are service_id, address, port")
    for port in (0, 65536, True, "80"):
        assert refused(service, port=port).endswith("of service postgres is not a number from 1 to 65535")


def test_weights_are_those_of_this_node():
    one = "shop_1.0_80"
    assert localservices.check_weights("web1", {one: 5}) == {one: 5}
    assert localservices.check_weights("web1", {"web1": {one: 5}, "web2": {one: 6}}) == {one: 5}
    for weights in ([], {"web1": []}, {one: None}, {"web1": {one: None}}):
        assert "a mapping of id to weight is allowed" in refused(localservices.check_weights, "web1", weights)
    assert "is not a whole number from 1 to" in refused(localservices.check_weights, "web1", {one: 0})


def test_name_servers_are_written_for_each_resolver():
    assert localservices.upstream("web1", PILLAR, "#") == ["10.0.0.53", "fd00::53#5353"]
    assert localservices.upstream("web1", PILLAR, "@") == ["10.0.0.53", "fd00::53@5353"]
    assert localservices.recursors("web1", PILLAR) == ["10.0.0.53:53", "[fd00::53]:5353"]


def test_only_a_node_of_an_environment_has_discovery():
    assert "is not a node of environment test" in refused(localservices.agent, "web9", PILLAR)
