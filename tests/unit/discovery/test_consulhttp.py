"""How the connection to Consul behaves when Consul does not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from saltdeploy.core.errors import DiscoveryUnavailable, Failed
from saltdeploy.discovery import consul, consulhttp, consulservices

from tests.support.catalog import SERVICE

LEADER = {"GET /v1/status/leader": (200, '"10.0.0.1:8300"'), "GET /v1/kv/deploy/": (404, "")}
DEAD = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "code, body, kind, told",
    [
        (403, "Permission denied", Failed, "refuses to read key x: Permission denied. Its token may not"),
        (500, "No cluster leader", DiscoveryUnavailable, "Consul has no leader: it could not read key x"),
        (500, "rpc error making call: EOF", DiscoveryUnavailable, "Consul has no leader"),
        (500, "Raft leader not found in server lookup mapping", DiscoveryUnavailable, "Consul has no leader"),
        (500, "No known Consul servers", DiscoveryUnavailable, "Consul has no leader"),
        (503, "busy", DiscoveryUnavailable, "Consul could not read key x: 503 busy"),
        (400, "Invalid\n", Failed, "Consul could not read key x: 400 Invalid"),
    ],
)
def test_failure(code, body, kind, told):
    failure = consulhttp.Connection([]).failed(SimpleNamespace(code=code, body=body), "read key x")
    assert type(failure) is kind
    assert told in str(failure)


def test_the_token_is_in_the_header_of_every_call_and_never_in_the_url(serve, monkeypatch):
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "of the environment")
    url, asked = serve({"PUT /v1/agent/service/deregister/x": (200, ""), "PUT /v1/txn": (200, "{}"), **LEADER})
    with consul.Consul([url], token="secret") as client:
        client.withdraw("x")
        client.write({"a": 1})
        client.leader()
    assert len(asked) == 4
    for _, path, headers, _ in asked:
        assert headers["X-Consul-Token"] == "secret"
        assert "token" not in path


@pytest.mark.parametrize(
    "path, ask",
    [
        ("/v1/kv/a", lambda client: client.read("a")),
        ("/v1/kv/a/", lambda client: client.keys("a/")),
        ("/v1/kv/a/", lambda client: client.read_all("a/")),
        ("/v1/health/service/web", lambda client: client.instances("web")),
        ("/v1/status/leader", lambda client: client.leader()),
        ("/v1/catalog/services", lambda client: client.services()),
    ],
)
def test_a_page_in_place_of_an_answer_is_told(serve, path, ask):
    """A proxy sends it, or another service has the port."""
    url, _ = serve({f"GET {path}": (200, "<html>Sign in</html>")})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable, match=r"not Consul's \(<html>Sign in"):
        ask(client)


def test_tags_of_services_are_sorted(serve):
    """Consul gives them in another order each time."""
    url, _ = serve({"GET /v1/catalog/services": (200, '{"web": ["site", "1.0", "blue"], "consul": []}')})
    with consul.Consul([url]) as client:
        assert client.services() == {"web": ("1.0", "blue", "site"), "consul": ()}


def test_the_environment_of_consul_s_tools_is_no_matter(serve, monkeypatch):
    url, asked = serve(LEADER)
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("CONSUL_HTTP_SSL", "true")
    monkeypatch.setenv("http_proxy", DEAD)
    with consul.Consul([url]) as client:
        assert client.leader() == "10.0.0.1:8300"
    assert "X-Consul-Token" not in asked[0][2]


def test_the_datacenter_is_asked_for_but_not_of_the_agent(serve):
    url, asked = serve({"PUT /v1/agent/service/register": (200, ""), **LEADER})
    with consul.Consul([url], datacenter="dc2") as client:
        client.read("deploy/")
        client.publish(SERVICE)
    assert "dc=dc2" in asked[0][1]
    assert "dc=" not in asked[1][1]
    assert json.loads(asked[1][3]) == consulservices.registration(SERVICE)


def test_the_first_that_answers_is_asked_and_from_then_on_first(serve):
    url, asked = serve(LEADER)
    with consul.Consul([DEAD, url]) as client:
        assert client.leader() == "10.0.0.1:8300"
        assert client._clients[0].base_uri == url
    assert len(asked) == 2


def test_a_server_without_a_leader_is_passed_over_when_reading(serve):
    lost, _ = serve({"GET /v1/kv/a": (500, "No cluster leader")})
    good, _ = serve({"GET /v1/kv/a": (200, json.dumps([{"Value": consul._encode(5), "ModifyIndex": 3}]))})
    with consul.Consul([lost, good]) as client:
        assert client.read("a") == (5, 3, None)
    with consul.Consul([good, lost]) as client:
        assert client.read("a") == (5, 3, None)
    for urls in ([lost], [lost, DEAD], [DEAD, lost]):
        with consul.Consul(urls) as client, pytest.raises(DiscoveryUnavailable, match="no leader"):
            client.read("a")


def test_a_write_that_got_an_answer_is_never_sent_twice(serve):
    lost, asked = serve({"PUT /v1/txn": (500, "rpc error")})
    good, untouched = serve({"PUT /v1/txn": (200, "{}")})
    with consul.Consul([lost, good]) as client:
        with pytest.raises(DiscoveryUnavailable):
            client.acquire("lock", "s", {}, 3)
        with pytest.raises(DiscoveryUnavailable):
            client.write({"a": 1}, "lock", "s")
    assert (len(asked), untouched) == (2, [])


def test_a_write_that_may_have_arrived_is_not_sent_to_the_next_server(serve):
    """…and one that did not is; a read is in any case."""
    answers = {"PUT /v1/session/create": (200, '{"ID": "s"}'), "PUT /v1/txn": (200, "{}"), **LEADER}
    good, untouched = serve(answers)
    broken, asked = serve(dict.fromkeys(answers, (None, "")))
    with consul.Consul([broken, good]) as client:
        for change in (lambda: client.create_session("x", 15), lambda: client.acquire("lock", "s", {}, 3)):
            with pytest.raises(DiscoveryUnavailable):
                change()
        assert (len(asked), untouched) == (2, [])
        assert client.leader() == "10.0.0.1:8300"
    with consul.Consul([DEAD, good]) as client:
        assert client.acquire("lock", "s", {}, 3)


def test_nobody_answers():
    with consul.Consul([DEAD, "http://127.0.0.2:1"]) as client:
        with pytest.raises(DiscoveryUnavailable) as caught:
            client.read("a")
    assert str(caught.value) == (
        "Consul does not answer (http://127.0.0.1:1: connection refused; http://127.0.0.2:1: connection refused):"
        " start its agent there."
    )


def test_a_url_without_a_host_is_no_agent_that_answers():
    with consul.Consul(["http://"]) as client, pytest.raises(DiscoveryUnavailable, match="Consul does not answer"):
        client.keys("deploy/")


@pytest.mark.parametrize("field, advice", [("DisableRedirects", "`redirects: true`"), ("TLSServerName", "`host`")])
def test_an_agent_that_is_too_old_for_a_check(serve, field, advice):
    said = f'Request decode failed: json: unknown field "{field}"'
    url, _ = serve({"PUT /v1/agent/service/register": (400, said)})
    with consul.Consul([url]) as client, pytest.raises(Failed, match="because its agent is too old") as caught:
        client.publish(SERVICE)
    assert said in str(caught.value) and advice in str(caught.value)
