"""Who belongs to an app in an environment, who does not, and what is said of that."""

from dataclasses import replace

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.core.httprequests import Request
from saltdeploy.core.model import App, Probe, Source
from saltdeploy.discovery import Endpoint
from saltdeploy.master import membership
from saltdeploy.master.membership import Kind

SITE = Environment("site", {n: Node(n, f"10.0.0.{i}") for i, n in enumerate(("web1", "web2"), 1)}, {})


def endpoint(one="shop_1.0_80", minion="web1", environment="site", node="host1", address="10.0.0.1", **changes):
    said = {"minion": minion, "environment": environment, "app": "shop" if environment else None}
    meta = {key: value for key, value in said.items() if value}
    return Endpoint(one, "shop", node, address, 80, (), meta, **changes)


def kind(found, known=frozenset()):
    ours, strangers = membership.divide([found], "shop", SITE, known)
    assert len(ours) + len(strangers) == 1
    return strangers[0].kind if strangers else None


@pytest.mark.parametrize(
    "found, what",
    [
        (endpoint(), None),
        (endpoint("shop_1.0_80_candidate"), None),
        (endpoint(minion="web9"), Kind.OUTSIDE),
        (endpoint(environment="test", minion="test1"), Kind.OTHER),
        # A node that moved from one environment to the other.
        (endpoint(environment="test"), Kind.OTHER),
        (endpoint("legacy"), Kind.FOREIGN),
        (endpoint("blog_1.0_80"), Kind.FOREIGN),
        (endpoint("shop-admin_1.0_80"), Kind.FOREIGN),
        # Registered by hand, without any facts: what is on a node of ours is ours.
        (endpoint(minion="", environment="", node="web1"), None),
        (endpoint(minion="", environment="", node="host2", address="10.0.0.2"), None),
        (endpoint(minion="", environment="", node="host9", address="10.0.0.9"), Kind.FOREIGN),
        (endpoint("shop_1.0_99999", minion="", environment="", node="web1"), Kind.FOREIGN),
    ],
)
def test_kinds(found, what):
    assert kind(found) == what


def test_what_a_node_says_it_has_belongs_to_it_whatever_the_catalog_says():
    assert kind(endpoint(environment="before"), {("web1", "shop_1.0_80")}) is None


def test_an_instance_without_facts_is_on_the_minion_with_its_address():
    found = endpoint(minion="", environment="", node="host2", address="10.0.0.2")
    assert membership.divide([found], "shop", SITE)[0][0].minion == "web2"


def test_clients_use_their_own_environment_s_and_what_belongs_to_none():
    own, other = endpoint(), endpoint(environment="test")
    postgres = Endpoint("postgres", "postgres", "db1", "10.0.0.9", 5432)
    assert [e for e in (own, other, postgres) if e.belongs_to("site")] == [own, postgres]


def test_what_an_agent_does_not_have_is_stale_where_it_was_asked():
    ours = [endpoint("shop_1.0_80"), endpoint("shop_1.0_81"), endpoint("shop_1.0_80", minion="web2")]
    found = membership.stale(ours, {"web1": {"shop_1.0_80"}})
    assert [(s.kind, s.endpoint.id) for s in found] == [(Kind.STALE, "shop_1.0_81")]


def test_the_output_of_a_check_is_shown_without_secrets():
    checks = (
        Probe("http", "/", request=Request(headers={"Authorization": "Bearer hunter2"}, body="secretbody")),
        Probe("https", "/b", request=Request(headers={"X-Key": "topsecret"})),
        Probe("tcp", ""),
    )
    app = App("shop", Source("pip", "shop"), "run", env={"PASSWORD": "geheim!"}, checks=checks)
    found = endpoint(output="HTTP GET http://10.0.0.1/: 401\n Output: hunter2 topsecret\nsecretbody geheim!")
    assert membership.check_output(found, app) == "GET http://10.0.0.1/: 401 Output: *** *** *** ***"
    assert membership.check_output(endpoint(output="x" * 1000), app) == "x" * membership.SHOWN


def refused(*found, stale=(), site=SITE, **options):
    strangers = membership.divide(found, "shop", site)[1] + membership.stale(list(stale), {"web1": set()})
    with pytest.raises(Refused) as error:
        membership.refuse(strangers, "shop", site, **options)
    return str(error.value)


def test_each_kind_is_refused_with_what_to_do():
    said = refused(endpoint(minion="web9", address="10.0.0.9"))
    assert "shop_1.0_80 on web9, and web9 is no node of site" in said
    assert "`web9: {address: 10.0.0.9, roles: [leaving]}`" in said and "salt-run deploy.app shop env=site" in said
    # The advice must not change the release.
    for deployed in ("2.0", "2.0@7"):
        said = refused(endpoint(minion="web9"), deployed=deployed)
        assert "salt-run deploy.app shop version=\"'2.0'\" env=site` retires the instances there" in said
    said = refused(endpoint(environment="test", minion="test1"))
    assert "Environment test has shop in the same Consul: shop_1.0_80 on test1" in said
    assert "salt-run deploy.remove shop env=test" in said
    said = refused(endpoint("legacy"))
    assert "`consul services deregister -id=legacy` on host1 to take it out" in said
    assert "`salt-run deploy.app shop env=site keep=True`" in said
    said = refused(endpoint("legacy"), endpoint("older"))
    assert "-id=legacy` on host1, `consul services deregister -id=older` on host1 to take them out" in said
    said = refused(stale=[endpoint()])
    assert "shop_1.0_80 on web1, which the Consul agent there does not have" in said and '{"Node": "host1"}' in said


def test_the_advice_fits_the_service_discovery():
    sky = replace(SITE, discovery={"skydns": {}})
    said = refused(endpoint("legacy", node="web1"), site=sky)
    assert "Run `salt web1 discovery.deregister legacy` to take it out" in said
    said = refused(endpoint(environment="test", node="web1"), site=sky)
    assert "Environment test has shop in the same SkyDNS: shop_1.0_80 on web1." in said
    assert "take these out: `salt web1 discovery.deregister shop_1.0_80`." in said
    said = refused(stale=[endpoint(node="web1")], site=sky)
    assert "which the health agent there does not have" in said and "`journalctl -u saltdeploy-health`" in said
    assert "`etcdctl del --prefix /saltdeploy/site/services/shop/web1/`." in said
    for site, agent in ((SITE, "Consul agent"), (sky, "health agent")):
        told = membership.told(membership.stale([endpoint()], {"web1": set()})[0], "shop", site)
        assert told == f"shop_1.0_80 on web1: the {agent} of web1 does not have it"


def test_all_that_is_wrong_is_said_at_once():
    said = refused(endpoint(minion="web8"), endpoint(minion="web9"), endpoint("legacy"))
    assert "web8, web9 are no node of site" in said and "legacy on web1" in said


def test_what_is_tolerated_and_what_is_dead_stops_nobody():
    foreign, dead = endpoint("legacy"), endpoint(minion="web9", status="critical", alive=False)
    strangers = membership.divide([foreign, dead], "shop", SITE)[1]
    membership.refuse(strangers, "shop", SITE, tolerated=[Kind.FOREIGN])
    sick = membership.divide([endpoint(minion="web9", status="critical")], "shop", SITE)[1]
    with pytest.raises(Refused):  # it may pass again
        membership.refuse(sick, "shop", SITE)
