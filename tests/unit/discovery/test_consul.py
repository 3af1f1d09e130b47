"""What is sent to Consul, what is read from it, and how its client behaves when Consul does not."""

import json
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy import discovery
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, Refused
from saltdeploy.core.model import AGENT, Probe
from saltdeploy.definition import appdefinition
from saltdeploy.discovery import Endpoint, Service, consul, registration

CHECK = Probe("http", "/health", interval=0.5, timeout=3.0)
SERVICE = Service("shop_1_80", "shop", "10.0.0.1", 80, ("test", "1"), {"app": "shop"}, (CHECK,))


# -- registrations ----------------------------------------------------------------------------


def test_registration():
    assert consul._registration(SERVICE) == {
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
    (check,) = consul._registration(replace(SERVICE, checks=(Probe("tcp", ""),)))["Checks"]
    assert check == {"Name": "tcp", "TCP": "10.0.0.1:80", "Interval": "2s", "Timeout": "5s", "Status": "passing"}


def test_checks_of_an_ipv6_address():
    service = replace(SERVICE, address="fd00::11", checks=(CHECK, Probe("tcp", "")))
    registration = consul._registration(service)
    assert registration["Address"] == "fd00::11"
    assert registration["Checks"][0]["HTTP"] == "http://[fd00::11]:80/health"
    assert registration["Checks"][1]["TCP"] == "[fd00::11]:80"
    assert consul._endpoint(entry(Address="fd00::11")).host == "[fd00::11]"


def test_a_changed_check_has_an_id_of_its_own():
    """Consul would give it the last result of the check before."""

    def ids(service):
        return [check["CheckID"] for check in consul._registration(registration.sealed(service, b"key"))["Checks"]]

    two = replace(SERVICE, checks=(Probe("tcp", ""), Probe("http", "/health")))
    other = replace(SERVICE, checks=(Probe("tcp", ""), Probe("http", "/ready")))
    assert len(set(ids(two)) | set(ids(other))) == 4
    weighed = replace(registration.sealed(two, b"key"), weight=5)
    assert [check["CheckID"] for check in consul._registration(weighed)["Checks"]] == ids(two)
    assert all(check.startswith(SERVICE.id + ":") for check in ids(two))


def test_registration_with_a_weight():
    """A check that warns takes nothing of it: users get what warns as they do without weights."""
    assert consul._registration(replace(SERVICE, weight=256))["Weights"] == {"Passing": 256, "Warning": 256}


def test_an_endpoint_has_its_weight():
    assert consul._endpoint(entry(Weights={"Passing": 256, "Warning": 1})).weight == 256


def test_registration_without_a_port():
    assert "Port" not in consul._registration(replace(SERVICE, port=None, checks=()))


def test_registration_that_expires():
    checks = consul._registration(replace(SERVICE, expires=600.0))["Checks"]
    assert checks[1] == {
        "Name": "expires",
        "TTL": "601s",
        "Status": "passing",
        "DeregisterCriticalServiceAfter": "1m",
    }


# -- what is read -----------------------------------------------------------------------------


def entry(*statuses, **service):
    service = {"ID": "s1", "Service": "shop", "Address": "10.0.0.1", "Port": 80, "Tags": ["a"], "Meta": None, **service}
    node = {"Node": "n1", "Address": "10.0.0.9"}
    return {"Node": node, "Service": service, "Checks": [{"Status": s} for s in statuses]}


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
    assert consul._endpoint(entry(*statuses)) == Endpoint("s1", "shop", "n1", "10.0.0.1", 80, ("a",), {}, worst)


def test_an_endpoint_without_an_address_has_its_node_s():
    assert consul._endpoint(entry(Address="", Tags=None)).address == "10.0.0.9"


@pytest.mark.parametrize(
    "text, seconds",
    [("700ms", 0.7), ("500µs", 0.0005), ("1m30.5s", 90.5), ("1h0m0s", 3600.0), ("", None), (None, None)],
)
def test_an_endpoint_has_the_times_of_its_checks(text, seconds):
    found = entry()
    found["Checks"] = [{"Name": "tcp", "Status": "passing", "ServiceID": "s1", "Interval": "2s", "Timeout": text}]
    assert consul._endpoint(found).checks == (("tcp", 2.0, seconds),)


def test_the_minion_of_an_endpoint_is_who_published_it():
    assert consul._endpoint(entry()).minion == "n1"
    assert consul._endpoint(entry(Meta={"minion": "web1"})).minion == "web1"


@pytest.mark.parametrize("value", [None, "text", {"a": [1, "ü", None]}, []])
def test_values_of_keys_are_read_as_they_were_written(value):
    assert consul._value({"Value": consul._encode(value)}) == value


def test_an_empty_key_has_no_value():
    assert consul._value({"Value": None}) is None


# -- failures ---------------------------------------------------------------------------------


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
    failure = consul._failure(SimpleNamespace(code=code, body=body), "read key x")
    assert type(failure) is kind
    assert told in str(failure)


# -- connecting -------------------------------------------------------------------------------


def test_connect_to_the_node_s_own_agent():
    config = {"consul": {"agent": "http://{address}:8501", "servers": ["http://10.9.9.9:8500"]}}
    assert discovery.connect(config, "10.0.0.1").urls == ["http://10.0.0.1:8501"]


def test_connect_to_an_agent_by_ipv6():
    config = {"consul": {"agent": "http://{address}:8501"}}
    with discovery.connect(config, "fd00::11") as connected:
        assert connected.urls == ["http://[fd00::11]:8501"]
        assert [client.base_uri for client in connected._clients] == ["http://[fd00::11]:8501"]


def test_connect_to_the_servers_from_the_master():
    servers = ["http://10.9.9.8:8500", "http://10.9.9.9:8500"]
    with discovery.connect({"consul": {"servers": servers, "datacenter": "dc2"}}) as connected:
        assert (connected.urls, connected.datacenter) == (servers, "dc2")


@pytest.mark.parametrize("address", [None, "10.0.0.1"])
def test_connect_by_default(address):
    assert discovery.connect({"consul": {}}, address).urls == [AGENT]


# -- the client, against servers that answer as Consul may ------------------------------------


LEADER = {"GET /v1/status/leader": (200, '"10.0.0.1:8300"'), "GET /v1/kv/deploy/": (404, "")}
DEAD = "http://127.0.0.1:1"


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


def test_a_write_and_what_is_removed_are_one_fenced_transaction(serve):
    url, asked = serve({"PUT /v1/txn": (200, "{}")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1}, "lock", "s1", ["b", "c"]) is True
    [verbs] = [[v["KV"] for v in json.loads(body)] for *_, body in asked]
    assert [(v["Verb"], v["Key"]) for v in verbs] == [
        ("check-session", "lock"),
        ("set", "a"),
        ("delete", "b"),
        ("delete", "c"),
    ]


def test_what_has_no_room_in_one_transaction_goes_into_more_each_fenced(serve):
    url, asked = serve({"PUT /v1/txn": (200, "{}")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1}, "lock", "s1", [f"old{n}" for n in range(130)])
    sent = [[v["KV"] for v in json.loads(body)] for *_, body in asked]
    assert [len(verbs) for verbs in sent] == [64, 64, 6]
    assert {verbs[0]["Verb"] for verbs in sent} == {"check-session"}
    assert sent[0][1]["Verb"] == "set"
    assert [v["Key"] for verbs in sent for v in verbs if v["Verb"] == "delete"] == [f"old{n}" for n in range(130)]


def test_after_a_lost_lock_nothing_more_is_removed(serve):
    url, asked = serve({"PUT /v1/txn": (409, "{}")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1}, "lock", "s1", [f"old{n}" for n in range(130)]) is False
    assert len(asked) == 1


def test_keys(serve):
    url, asked = serve({"GET /v1/kv/a/": (200, '["a/b", "a/c"]')})
    with consul.Consul([url]) as client:
        assert client.keys("a/") == ["a/b", "a/c"]
        assert client.keys("x/") == []
    assert "keys=1" in asked[0][1]


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
    assert json.loads(asked[1][3]) == consul._registration(SERVICE)


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


@pytest.mark.parametrize(
    "index, fence",
    [(3, {"Verb": "check-index", "Key": "lock", "Index": 3}), (0, {"Verb": "check-not-exists", "Key": "lock"})],
)
def test_a_lock_is_taken_and_replaced_by_index_only(serve, index, fence):
    url, asked = serve({"PUT /v1/txn": (409, "")})
    with consul.Consul([url]) as client:
        assert not client.acquire("lock", "s", {}, index)
        assert not client.replace("lock", {}, index)
    assert [json.loads(body)[0]["KV"] for _, _, _, body in asked] == [fence, fence]


def test_nobody_answers():
    with consul.Consul([DEAD, "http://127.0.0.2:1"]) as client:
        with pytest.raises(DiscoveryUnavailable) as caught:
            client.read("a")
    assert str(caught.value) == (
        "Consul does not answer (http://127.0.0.1:1: connection refused; http://127.0.0.2:1: connection refused):"
        " start its agent there."
    )


@pytest.mark.parametrize("status, body", [(404, "Unknown service ID"), (500, 'Unknown service "x"'), (200, "")])
def test_withdrawing_what_is_not_there_is_no_error(serve, status, body):
    url, asked = serve({"PUT /v1/agent/service/deregister/x": (status, body)})
    with consul.Consul([url]) as client:
        client.withdraw("x")
    assert len(asked) == 1


def test_withdrawing_that_fails(serve):
    url, _ = serve({"PUT /v1/agent/service/deregister/x": (500, "disk full")})
    with consul.Consul([url]) as client, pytest.raises(Failed, match="could not deregister x: 500 disk full"):
        client.withdraw("x")


def test_a_write_is_fenced_by_the_session(serve):
    url, asked = serve({"PUT /v1/txn": (409, "")})
    with consul.Consul([url]) as client:
        assert client.write({"a": 1, "b": None}, "lock", "s1") is False
    assert json.loads(asked[0][3]) == [
        {"KV": {"Verb": "check-session", "Key": "lock", "Session": "s1"}},
        {"KV": {"Verb": "set", "Key": "a", "Value": consul._encode(1)}},
        {"KV": {"Verb": "set", "Key": "b", "Value": consul._encode(None)}},
    ]


def test_renewing_a_session_that_is_gone(serve):
    url, _ = serve({"PUT /v1/session/renew/s1": (404, ""), "PUT /v1/session/renew/s2": (200, "[]")})
    with consul.Consul([url]) as client:
        assert client.renew_session("s1") is False
        assert client.renew_session("s2") is True


def test_no_leader(serve):
    url, _ = serve({"GET /v1/status/leader": (200, '""')})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable, match=f"has no leader .asked {url}"):
        client.leader()


def test_an_agent_that_still_knows_a_leader_but_reaches_none(serve):
    url, _ = serve({**LEADER, "GET /v1/kv/deploy/": (500, "No known Consul servers")})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable, match="no leader"):
        client.leader()


def test_waiting_ends_with_what_is_waited_for_or_at_the_deadline(serve):
    answers = {"GET /v1/health/service/shop": (200, json.dumps([entry("passing")]))}
    url, asked = serve(answers)
    with consul.Consul([url]) as client:
        assert client.wait("shop", lambda found: len(found) == 1, time.monotonic() + 5, passing=True) is True
        assert "consistent=1" in asked[0][1] and "passing=1" in asked[0][1] and "index" not in asked[0][1]
        began = time.monotonic()
        assert client.wait("shop", lambda found: not found, began + 0.2) is False
        assert 0.2 <= time.monotonic() - began < 2
        assert "index=7" in asked[-1][1] and "wait=" in asked[-1][1]


def test_waiting_outlasts_a_lost_leader(serve):
    answers = {"GET /v1/health/service/shop": (500, "No cluster leader")}
    url, asked = serve(answers)
    answers_later = threading.Timer(0.3, answers.update, [{"GET /v1/health/service/shop": (200, "[]")}])
    answers_later.start()
    with consul.Consul([url]) as client:
        assert client.wait("shop", lambda found: not found, time.monotonic() + 10) is True
    answers_later.join()
    assert len(asked) > 1


def test_waiting_for_a_leader_that_does_not_come_back(serve, monkeypatch):
    monkeypatch.setattr(consul, "ELECTION", 0.3)
    url, _ = serve({"GET /v1/health/service/shop": (500, "No cluster leader")})
    with consul.Consul([url]) as client, pytest.raises(DiscoveryUnavailable):
        client.wait("shop", lambda found: True, time.monotonic() + 0.3)


def test_what_users_do_not_find_of_an_agent_s_own_services(serve):
    """One is not checked yet, which the agent knows first; one is not in the catalog yet; another node's has its id."""
    mine = {"s1": "web1", "unchecked": "web1", "unlisted": "web1"}
    services = {i: entry(ID=i, Meta={"minion": minion})["Service"] for i, minion in mine.items()}
    checks = {
        "c1": {"ServiceID": "unchecked", "Status": "critical"},
        "serfHealth": {"ServiceID": "", "Status": "critical"},
    }
    found = [("s1", "web1"), ("unchecked", "web1"), ("unlisted", "web2")]
    listed = [entry("passing", ID=i, Meta={"minion": minion}) for i, minion in found]
    answers = {
        "GET /v1/agent/services": (200, json.dumps(services)),
        "GET /v1/agent/checks": (200, json.dumps(checks)),
        "GET /v1/health/service/shop": (200, json.dumps(listed)),
    }
    url, _ = serve(answers)
    with consul.Consul([url]) as client:
        assert client.failing() == ["unchecked", "unlisted"]


def test_entries_come_in_the_order_in_which_they_were_created(serve):
    """Whatever time their ids say, and whenever they were changed."""
    found = [("a/9999", 7), ("a/2026", 9), ("a/2025", 9)]
    keys = [{"Key": key, "Value": consul._encode(key), "CreateIndex": i, "ModifyIndex": 99 - i} for key, i in found]
    url, _ = serve({"GET /v1/kv/a/": (200, json.dumps(keys))})
    with consul.Consul([url]) as client:
        assert client.entries("a/") == [(key, key) for key in ("a/9999", "a/2025", "a/2026")]
        assert client.read_all("a/").keys() == {"a/9999", "a/2025", "a/2026"}
        assert client.entries("x/") == []


@pytest.mark.parametrize("datacenter, found", [(None, {"web3"}), ("dc1", {"web3"}), ("dc2", set())])
def test_an_agent_that_lost_its_data_is_told_by_its_identity(serve, datacenter, found):
    """It is another one, and the catalog has what the earlier one registered. What is dead or unknown is not."""
    known = {"web1": "a", "web2": "b", "web3": "c", "external": ""}
    members = [("web1", "a", 1), ("web2", "x", 4), ("web3", "y", 1)]
    said = [{"Name": n, "Status": status, "Tags": {"id": i, "dc": "dc1"}} for n, i, status in members]
    nodes = json.dumps([{"Node": n, "ID": i} for n, i in known.items()])
    url, _ = serve({"GET /v1/agent/members": (200, json.dumps(said)), "GET /v1/catalog/nodes": (200, nodes)})
    with consul.Consul([url], datacenter=datacenter) as client:
        assert client.replaced() == found


def test_an_endpoint_is_alive_while_the_agent_of_its_node_is():
    dead = {"CheckID": "serfHealth", "Status": "critical"}
    assert consul._endpoint(entry("critical")).alive
    assert not consul._endpoint({**entry("critical"), "Checks": [dead]}).alive


def test_what_an_agent_only_believes_to_pass(serve):
    """A check without output has not run yet. What does not pass, and what is another's, is not believed in."""
    checks = {
        "c1": {"ServiceID": "s1", "Status": "passing", "Output": "HTTP GET …: 200 OK"},
        "c2": {"ServiceID": "s1", "Status": "passing", "Output": ""},
        "c3": {"ServiceID": "s2", "Status": "critical", "Output": ""},
        "c4": {"ServiceID": "s3", "Status": "passing", "Output": ""},
        "serfHealth": {"ServiceID": "", "Status": "passing", "Output": ""},
    }
    url, _ = serve({"GET /v1/agent/checks": (200, json.dumps(checks))})
    with consul.Consul([url]) as client:
        assert client.unmeasured(["s1", "s2"]) == ["s1"]


def test_an_endpoint_has_the_words_of_the_check_that_makes_it_so():
    found = entry("passing", "critical", "warning")
    for check, output in zip(found["Checks"], ("fine", "HTTP GET …: 404 Not Found", "slow")):
        check["Output"] = output
    assert consul._endpoint(found).output == "HTTP GET …: 404 Not Found"
    assert consul._endpoint(entry("passing")).output == ""


def test_a_check_may_be_of_another_port_than_the_service_has():
    watched = replace(SERVICE, port=None, checks=(replace(CHECK, port=32000),))
    assert consul._registration(watched)["Checks"][0]["HTTP"] == "http://10.0.0.1:32000/health"
    assert "Port" not in consul._registration(watched)


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "saltdeploy.discovery.consul")
    monkeypatch.setitem(sys.modules, "consul.std", None)
    monkeypatch.setitem(sys.modules, "consul", None)
    with pytest.raises(Refused, match="^python-consul is not installed here.* `salt-pip install python-consul`"):
        discovery.connect({})


def test_a_url_without_a_host_is_no_agent_that_answers():
    with consul.Consul(["http://"]) as client, pytest.raises(DiscoveryUnavailable, match="Consul does not answer"):
        client.keys("deploy/")


# -- checks with details ----------------------------------------------------------------------


def checks_of(raw):
    return tuple(appdefinition.probe(check, "checks") for check in raw)


def test_a_registration_without_details_is_as_it_was():
    """Byte for byte."""
    checks = checks_of([{"http": "/health", "interval": 1}, {"http": "/b?c=1", "timeout": "3s"}, {"tcp": True}])
    service = replace(SERVICE, checks=checks, weight=25600)
    assert json.dumps(consul._registration(service)) == (
        '{"ID": "shop_1_80", "Name": "shop", "Address": "10.0.0.1", "Tags": ["test", "1"], "Meta": {"app": "shop"},'
        ' "Checks": [{"HTTP": "http://10.0.0.1:80/health", "Name": "http /health",'
        ' "Interval": "1s", "Timeout": "5s", "Status": "passing"}, {"HTTP": "http://10.0.0.1:80/b?c=1", "Name":'
        ' "http /b?c=1", "Interval": "2s", "Timeout": "3s", "Status": "passing"}, {"TCP": "10.0.0.1:80", "Name": "tcp",'
        ' "Interval": "2s", "Timeout": "5s", "Status": "passing"}], "Port": 80, "Weights": {"Passing": 25600,'
        ' "Warning": 25600}}'
    )


def registered(check):
    [found] = consul._registration(replace(SERVICE, checks=checks_of([check])))["Checks"]
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


@pytest.mark.parametrize("field, advice", [("DisableRedirects", "`redirects: true`"), ("TLSServerName", "`host`")])
def test_an_agent_that_is_too_old_for_a_check(serve, field, advice):
    said = f'Request decode failed: json: unknown field "{field}"'
    url, _ = serve({"PUT /v1/agent/service/register": (400, said)})
    with consul.Consul([url]) as client, pytest.raises(Failed, match="because its agent is too old") as caught:
        client.publish(SERVICE)
    assert said in str(caught.value) and advice in str(caught.value)
