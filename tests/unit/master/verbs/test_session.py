"""The call of a verb: its operator, its warnings, its names, and what is known of the nodes."""

from __future__ import annotations

import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import Source
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import session
from saltdeploy.master.verbs.session import Session

from tests.support.fleet import make_app, observe
from tests.support.verbs import Foreign, call, recorded, site_with


@pytest.mark.parametrize("acts, told", [(True, ["hangs"]), (False, ["hangs", "the login in source:token_file"])])
def test_a_run_is_told_what_may_lose_requests_and_a_plan_everything(acts, told):
    made, app = Session({}), make_app()
    source = Source("archive", "http://files/shop.tar", sha256="0" * 64, token_file="/t")
    app = replace(app, source=source, strategy=replace(app.strategy, min_healthy_time=0.3))
    made.advise(SimpleNamespace(app=app, environment=Environment("e", {}, {})), acts)
    assert len(made.journal.warnings) == len(told)
    assert all(part in warning for part, warning in zip(told, made.journal.warnings))


@pytest.mark.parametrize("name", ["Shop", "shop_"])
def test_a_name_that_cannot_be_one_is_told_the_similar_name(name):
    found = Environment("e", {}, {"shop": make_app()})
    with pytest.raises(Refused, match=r"did you mean `shop`"):
        call(_environment_of=lambda *args: (found, name)).defined_or_not(name, None)


@pytest.mark.parametrize(
    "user, sudo, name",
    [
        ("ann", None, "ann"),  # of salt-api
        ("sudo_ann", "ann", "ann"),
        ("sudo_ann", None, "sudo_ann"),  # an account of this name, by salt-api
        ("sudo_ann", "bob", "sudo_ann"),
        ("UNKNOWN", "ann", "ann"),
        (None, "ann", "ann"),
        (None, None, "process"),
    ],
)
def test_who_did_it_is_whom_salt_has_authenticated(monkeypatch, user, sudo, name):
    monkeypatch.setattr(session.getpass, "getuser", lambda: "process")
    monkeypatch.setattr(session.os, "environ", {"SUDO_USER": sudo} if sudo else {})
    assert Session({}, user=user).owner.partition("@")[0] == name


class Bus:
    """The bus of a run. It keeps the events in a list that outlives it."""

    def __init__(self, fired):
        self.fired = fired

    def fire_event(self, data, tag):
        self.fired.append((data["message"], tag))


def test_a_run_keeps_its_bus_and_survives_the_end_of_it():
    """Runs that a reactor starts side by side share the globals of the module."""
    ours, theirs = [], []
    bus, other = Bus(ours), Bus(theirs)
    found = {"__jid_event__": weakref.proxy(bus), "__user__": "Reactor"}
    made = session.of_runner({}, found)
    found["__jid_event__"] = weakref.proxy(other)
    made.emit("one")
    del bus
    made.emit("two")
    assert (ours, theirs) == ([("one", "progress")], [])


def test_data_that_the_record_has_and_a_node_has_not_is_lost(monkeypatch):
    """A node that does not answer may have it."""
    backend = Foreign()
    backend.record["data"], backend.record["nodes"] = ["web1", "web2", "web3"], {"web4": ["shop_1.0_100"]}
    here = site_with(backend)
    here.answering = here.observed = ["web1", "web2"]
    monkeypatch.setattr(session.preflight, "observe", lambda *args: observe(data={"web2": "/data"}))
    seen = Session({}).observe(here)
    assert seen.lost == {"web1"} and seen.data == {"web2": "/data", "web3": "", "web4": ""}
    # Nor can anybody tell which settings its instances have.
    assert seen.editions == {"web4": {"1.0": None}}


@pytest.mark.parametrize("name", [None, ""])
def test_a_verb_needs_the_name_of_an_app(here, name):
    with pytest.raises(Refused, match="^which app\\? Say its name first, for example: salt-run deploy.app shop$"):
        here().session.definitions(name, None)


def test_a_warning_is_given_once(here):
    made = here()
    made.session.warn("beware")
    made.session.warn("beware")
    assert made.session.journal.warnings == ["beware"] and made.said() == ["warning: beware"]


def test_an_app_with_a_wrong_definition_is_known_by_its_name_alone(here):
    made = here()
    made.environment.broken["till"] = "apps:till:ports: is wrong"
    assert made.session.known("till", None)[1].name == "till"
    with pytest.raises(Refused, match="apps:till:ports: is wrong"):
        made.session.definitions("till", None)


def test_an_app_that_is_not_defined_has_a_stand_in(here):
    made = here()
    assert made.session.defined_or_not("shop", None)[1] is made.app
    assert made.session.defined_or_not("till", None)[1].name == "till"


def test_the_nodes_that_the_record_names_must_answer_and_others_may_be_gone(here):
    made = here(record=recorded("1.0", {"web2": ["shop_1.0_100"], "web9": ["shop_1.0_101"]}))
    with made.session.whole_site(made.environment, made.app) as site:
        assert (site.nodes, site.needed, site.choice) == (("web1", "web2", "web3"), ("web2",), False)
    assert made.session.journal.warnings == ["web9 is no node of e any more: its instances are not seen."]


def test_what_an_app_requires_must_be_there_to_go_on_and_not_to_go_back(here):
    made = here(app=replace(make_app(), requires=("database",)))
    with pytest.raises(Refused, match="^shop requires database, which discovery does not have healthy"):
        with made.session.site(made.environment, made.app):
            pass
    with made.session.site(made.environment, made.app, back=True) as site:
        assert site.app.requires == ("database",)


def test_a_missing_right_at_etcd_is_refused_before_anything_is_changed(here):
    made = here()
    nodes = {name: replace(node, roles=("etcd-server", "app")) for name, node in made.environment.nodes.items()}
    skydns = replace(made.environment, nodes=nodes, discovery={"skydns": {"user": "saltdeploy-deployer"}})
    made.catalog.granted = lambda: {"till"}
    with pytest.raises(Refused, match="no rights at etcd yet to register shop.*salt web1 state.apply"):
        with made.session.site(skydns, made.app):
            pass
    with made.session.site(skydns, made.app, back=True):
        pass


@pytest.fixture
def environment(monkeypatch):
    """Return ``read(pillar, env=None, app=None)``: the Environment that a session finds in this pillar."""

    def read(pillar, env=None, app=None):
        made = SimpleNamespace(compile_pillar=lambda: pillar)
        monkeypatch.setattr(session.salt.pillar, "Pillar", lambda opts, grains, name, env: made)
        return Session({"id": "master_master"}).environment(env, app)

    return read


def test_a_master_without_environments_is_told_where_to_define_them(environment):
    with pytest.raises(Refused) as refused:
        environment({})
    assert str(refused.value) == (
        "this master's own pillar has no environments: in pillar/top.sls, give 'master_master' (its id)"
        " environments.all, and define one in pillar/environments/."
    )


def test_a_file_that_salt_could_not_render_is_named_without_what_it_contains(environment):
    error = "Rendering SLS 'environments.e' failed, render error:\nJinja variable 'x' is undefined; line 3\n---\nGehe1m"
    with pytest.raises(Refused) as refused:
        environment({"_errors": [error, "Specified SLS 'apps.mail' is not available"]})
    text = str(refused.value)
    assert "Gehe1m" not in text
    assert "Left out is SLS 'environments.e': Jinja variable 'x' is undefined; line 3." in text
    assert "Left out is pillar (2): Specified SLS 'apps.mail' is not available." in text


@pytest.mark.parametrize(
    "mine, nodes",
    [({}, ("web1", "web3")), ({"web2": False}, ("web1", "web2", "web3")), ({"web1": True}, ("web3",))],
)
def test_nodes_that_are_out_of_use_are_left_out(here, mine, nodes):
    made = here(keys={"deploy/e/.away/web2": {"by": "ann"}, "deploy/e/.away/gone": {}})
    made.session.away = mine
    with made.session.site(made.environment, made.app) as site:
        assert site.nodes == site.needed == nodes
        assert set(site.environment.barred(made.app)) == {"web1", "web2", "web3"} - set(nodes)


def test_a_node_that_is_out_of_use_cannot_be_chosen(here):
    made = here(keys={"deploy/e/.away/web2": {"by": "ann", "reason": "new disk"}})
    said = (
        r"^nodes: web2 is out of use \(ann, reason: new disk\): to bring it back, run salt-run deploy.return web2 env=e"
    )
    with pytest.raises(Refused, match=said), made.session.site(made.environment, made.app, "web1,web2"):
        pass


def test_nodes_that_go_out_of_use_while_a_run_waits_are_not_placed_on(here):
    made = here()
    with made.session.site(made.environment, made.app) as site:
        made.session.refuse_other_nodes(site)
        made.catalog.values["deploy/e/.away/web2"] = {"by": "ann"}
        with pytest.raises(Refused, match="^web2: went out of use or came back meanwhile. Run it again."):
            made.session.refuse_other_nodes(site)
    with made.session.site(made.environment, made.app, places=False) as site:
        made.session.refuse_other_nodes(site)


def test_nodes_that_do_not_answer_are_left_out_on_request(here, monkeypatch):
    made = here(record=recorded("1.0", {"web1": ["shop_1.0_100"]}))
    replies = {n: Reply(n, None, "does not answer", silent=n == "web3") for n in made.environment.nodes}
    monkeypatch.setattr(made.minions, "run", lambda function, nodes, **options: replies)
    with made.session.site(made.environment, made.app) as site:
        assert site.nodes == ("web1", "web2", "web3") and site.absent == frozenset()
    made.session.skip_absent = True
    with made.session.site(made.environment, made.app) as site:
        assert site.nodes == site.needed == ("web1", "web2") and site.absent == {"web3"}
    with pytest.raises(Refused, match="web3 does not answer, and is left out"):
        with made.session.site(made.environment, made.app, "web3"):
            pass


def test_a_node_that_may_not_run_the_app_or_is_evacuated_owes_nothing(here, monkeypatch):
    made = here(keys={"deploy/e/.away/web3": {"by": "ann"}})
    nodes = {**made.environment.nodes, "lb1": Node("lb1", "127.0.0.1", ("loadbalancer",))}
    made.environment = replace(made.environment, nodes=nodes)
    replies = {n: Reply(n, None, "does not answer", silent=n != "web1") for n in nodes}
    monkeypatch.setattr(made.minions, "run", lambda function, nodes, **options: replies)
    made.session.skip_absent = True
    with made.session.site(made.environment, made.app) as site:
        assert site.nodes == ("web1",) and site.absent == {"web2"}


def test_nobody_looks_twice_for_nodes_that_do_not_answer(here):
    made = here()
    made.session.skip_absent = True
    assert made.session.look_for_absent(made.minions, made.environment) == frozenset()
    assert made.session.beside(print, {}).look_for_absent(made.minions, made.environment) == frozenset()
    assert made.minions.jobs == [("test.ping",)]
