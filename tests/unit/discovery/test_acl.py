"""Access control is brought to the wanted state, against a server that answers as Consul does."""

import json

import pytest
from saltdeploy.core.errors import Failed
from saltdeploy.discovery.acl import Acl

POLICY, ROLE, TOKEN = "/v1/acl/policy", "/v1/acl/role", "/v1/acl/token"
DEPLOYER = {"ID": "p1", "Name": "deployer", "Rules": 'key_prefix "" { policy = "read" }'}


def changes(asked):
    """Return the requests that change something: verb, path and body."""
    return [(verb, path, json.loads(body or "null")) for verb, path, _, body in asked if verb != "GET"]


@pytest.fixture
def acl(serve):
    """Return an Acl for a server of these answers, and the requests that it gets."""
    opened = []

    def connect(answers):
        url, asked = serve(answers)
        opened.append(Acl([url], token="management"))
        return opened[-1], asked

    yield connect
    for each in opened:
        each.__exit__()


@pytest.mark.parametrize("status, body", [(404, ""), (403, "ACL not found"), (403, "Cannot find role to read")])
def test_a_policy_that_is_missing_is_made(acl, status, body):
    client, asked = acl({f"GET {POLICY}/name/deployer": (status, body), f"PUT {POLICY}": (200, "{}")})
    wanted = {"Name": "deployer", "Rules": "rules"}
    assert client.policy("deployer", "rules") == {"old": None, "new": wanted}
    assert changes(asked) == [("PUT", POLICY, wanted)]
    assert asked[0][2]["X-Consul-Token"] == "management"


def test_a_policy_that_differs_is_changed_under_its_id(acl):
    client, asked = acl({f"GET {POLICY}/name/deployer": (200, json.dumps(DEPLOYER)), f"PUT {POLICY}/p1": (200, "{}")})
    assert client.policy("deployer", "new") == {"old": {"Rules": DEPLOYER["Rules"]}, "new": {"Rules": "new"}}
    assert changes(asked) == [("PUT", f"{POLICY}/p1", {"Name": "deployer", "Rules": "new"})]


def test_a_policy_that_is_as_wanted_is_left_alone(acl):
    client, asked = acl({f"GET {POLICY}/name/deployer": (200, json.dumps(DEPLOYER))})
    assert client.policy("deployer", DEPLOYER["Rules"]) == {}
    assert changes(asked) == []


def test_a_dry_run_tells_the_change_and_makes_none(acl):
    client, asked = acl({f"GET {POLICY}/name/deployer": (200, json.dumps(DEPLOYER))})
    client.dry = True
    assert client.policy("deployer", "new")["new"] == {"Rules": "new"}
    assert changes(asked) == []


@pytest.mark.parametrize("names, differs", [(["a", "b"], False), (["b", "a"], False), (["a"], True), ([], True)])
def test_a_role_has_its_policies_in_any_order(acl, names, differs):
    """Consul answers with the ids of the policies, too."""
    links = [{"ID": "1", "Name": "a"}, {"ID": "2", "Name": "b"}]
    answer = json.dumps({"ID": "r1", "Name": "nodes", "Policies": links})
    client, _ = acl({f"GET {ROLE}/name/nodes": (200, answer), f"PUT {ROLE}/r1": (200, "{}")})
    assert bool(client.role("nodes", names)) is differs


def test_no_secret_is_in_the_differences_of_a_token(acl):
    client, asked = acl({f"GET {TOKEN}/t1": (404, ""), f"PUT {TOKEN}": (200, "{}")})
    found = client.token("t1", "geheim", "saltdeploy-app-shop", {"ServiceIdentities": [{"ServiceName": "shop"}]})
    assert "geheim" not in str(found) and found["new"]["Description"] == "saltdeploy-app-shop"
    assert changes(asked)[0][2]["SecretID"] == "geheim"


@pytest.mark.parametrize("empty", [None, []])
def test_rights_that_a_token_lacks_are_no_difference(acl, empty):
    known = {"AccessorID": "t1", "SecretID": "s", "Description": "d", "Policies": empty}
    client, _ = acl({f"GET {TOKEN}/t1": (200, json.dumps(known))})
    assert client.token("t1", "s", "d", {"Policies": [], "Roles": []}) == {}


def test_tokens_are_listed_by_the_beginning_of_their_description(acl):
    tokens = [{"AccessorID": "1", "Description": "saltdeploy-app-shop"}, {"AccessorID": "2", "Description": "mine"}]
    client, _ = acl({"GET /v1/acl/tokens": (200, json.dumps(tokens))})
    assert client.tokens("saltdeploy-") == {"1": "saltdeploy-app-shop"}


def test_a_token_that_cannot_be_removed_is_named(acl):
    client, _ = acl({f"DELETE {TOKEN}/t1": (500, "no leader"), f"DELETE {TOKEN}/t2": (200, "true")})
    client.remove_token("t2")
    with pytest.raises(Failed, match="Consul did not remove token t1: 500 no leader"):
        client.remove_token("t1")


def test_a_refused_look_is_no_missing_policy(acl):
    client, asked = acl({f"GET {POLICY}/name/deployer": (403, "Permission denied")})
    with pytest.raises(Failed, match="/v1/acl/policy/name/deployer: 403 Permission denied"):
        client.policy("deployer", "new")
    assert changes(asked) == []


def test_access_control_is_bootstrapped_once(acl):
    client, asked = acl({f"GET {TOKEN}/self": (403, "ACL not found"), "PUT /v1/acl/bootstrap": (200, "{}")})
    assert client.bootstrap("geheim", 5) is True
    assert changes(asked) == [("PUT", "/v1/acl/bootstrap", {"BootstrapSecret": "geheim"})]
    client, asked = acl({f"GET {TOKEN}/self": (200, "{}")})
    assert client.bootstrap("geheim", 5) is False and changes(asked) == []


def test_another_bootstrap_is_not_waited_for(acl):
    client, _ = acl(
        {f"GET {TOKEN}/self": (403, "ACL not found"), "PUT /v1/acl/bootstrap": (403, "bootstrap no longer")}
    )
    with pytest.raises(Failed, match="bootstrapped with another token than the master keeps"):
        client.bootstrap("geheim", 60)


def test_a_bootstrap_has_a_deadline(acl):
    client, _ = acl({f"GET {TOKEN}/self": (500, ""), "PUT /v1/acl/bootstrap": (500, "The ACL system is off")})
    with pytest.raises(Failed, match="no bootstrap of access control within 0.1s: 500 The ACL system is off"):
        client.bootstrap("geheim", 0.1)
