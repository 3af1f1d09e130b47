"""Who answers, who must, and what is made of what they say."""

import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from saltdeploy import __version__
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import Refused
from saltdeploy.core.model import App, PortRange, Probe, Registration, Source, Strategy
from saltdeploy.definition import stops
from saltdeploy.discovery import Endpoint
from saltdeploy.master import preflight
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.remote.jobs import stop_deadline
from saltdeploy.master.verbs.session import Session
from saltdeploy.planning.model import Desired, Observed

from tests.support.fleet import instance

NODES = ("web1", "web2", "web3")
VALUE = {
    "saltdeploy": __version__,
    "environment": "e",
    "applying_states": False,
    "instances": [],
    "stop_timeouts": {},
    "ports_taken": [],
    "releases": ["1.0"],
    "data": "",
    "slots": None,
    "editions": {"1.0": None, "1.0@2": {"env": ["LEVEL"]}},
    "prepared": False,
}
APP = App("shop", Source("pip", "shop"), "run", ports=PortRange(100, 109), strategy=Strategy(healthy_deadline=5.0))


class Fleet:
    """Nodes that answer as they are told."""

    def __init__(self, opts, replies):
        self.opts, self.replies, self.jobs, self.refreshed = opts, replies, [], {}

    def run(self, function, nodes, *args, deadline, **kwargs):
        if nodes:
            self.jobs.append((function, args, kwargs))
        if function == "saltutil.refresh_pillar":
            return {node: self.refreshed.get(node, Reply(node, True)) for node in nodes}
        return {node: self.replies.get(node, Reply(node, VALUE)) for node in nodes}


class Journal:
    def __init__(self):
        self.warnings, self.said = [], []
        self.warn, self.say = self.warnings.append, self.said.append


def site(replies=(), opts=(), **changes):
    environment = Environment("e", {n: Node(n, "127.0.0.1") for n in NODES}, {"shop": APP})
    fleet = Fleet(dict(opts), {reply.node: reply for reply in replies})
    given = {
        "nodes": NODES,
        "needed": NODES,
        "chosen": False,
        "choice": True,
        "answering": None,
        "observed": None,
        "compare": None,
        "skips": True,
        "record": lambda: None,
    }
    return SimpleNamespace(**{"environment": environment, "fleet": fleet, "app": APP, **given, **changes})


def silent(node):
    return Reply(node, None, "does not answer: is its salt-minion running?", silent=True)


def test_all_that_answer_are_looked_at_in_one_job():
    here, journal = site([silent("web2")], needed=("web1",)), Journal()
    observed = preflight.observe(here, journal)
    assert here.answering == here.observed == ["web1", "web3"] and set(observed.releases) == {"web1", "web3"}
    assert journal.warnings == ["web2 does not answer: its instances are not seen."]
    assert here.fleet.jobs == [("app.observe", ("shop",), {"refresh": True, "deployment": None, "compare": None})]


class Asked(Fleet):
    """Nodes that answer by the pillar that they have, or by a fresh one; it keeps which nodes were asked in each job."""

    def run(self, function, nodes, *args, refresh, **kwargs):
        if nodes:
            self.jobs.append((list(nodes), refresh))
        asked = {node: refresh is True or node in refresh for node in nodes}
        return {n: Reply(n, VALUE) if fresh or n not in self.replies else self.replies[n] for n, fresh in asked.items()}


IDLE = {**VALUE, "releases": [], "editions": {}}
STALE = {
    "nothing": (Reply("lb1", IDLE), False),
    "silence": (Reply("lb1", None, "does not answer", silent=True), False),
    "an error": (Reply("lb1", None, "Consul does not answer"), True),
    "an older version": (Reply("lb1", {"saltdeploy": "0.1"}), True),
    "another environment": (Reply("lb1", {**IDLE, "environment": "other"}), True),
    "an instance": (Reply("lb1", {**IDLE, "instances": [instance("lb1").__dict__]}), True),
    "a release": (Reply("lb1", {**IDLE, "releases": ["1.0"]}), True),
    "data": (Reply("lb1", {**IDLE, "data": "/data"}), True),
    "settings": (Reply("lb1", {**IDLE, "editions": {"1.0": None}}), True),
}


def with_balancer(roles=("loadbalancer",), app=APP, **changes):
    """Return a site with a node more, which may not run the app, and whose nodes answer with the pillar they have."""
    nodes = {**{n: Node(n, "127.0.0.1", ("app",)) for n in NODES}, "lb1": Node("lb1", "127.0.0.2", roles)}
    found = site(environment=Environment("e", nodes, {"shop": app}), app=app, **changes)
    found.fleet = Asked({}, {})
    return found


@pytest.mark.parametrize("what", STALE)
def test_a_node_that_has_nothing_of_the_app_keeps_its_pillar(what):
    read = []
    here, (reply, again) = with_balancer(record=lambda: read.append(1)), STALE[what]
    here.fleet.replies["lb1"] = reply
    preflight.observe(here, Journal())
    assert here.fleet.jobs == [([*NODES, "lb1"], list(NODES)), *([(["lb1"], True)] if again else [])]
    assert len(read) == 1  # and not once for each node


@pytest.mark.parametrize(
    "changes",
    [
        {"app": replace(APP, tests=(Probe("http", "/", origin="peer"),))},
        {"record": lambda: {"nodes": {"lb1": ["shop_1.0_100"]}}},
        {"roles": ("app",)},
    ],
)
def test_a_node_that_may_use_the_definition_refreshes_its_pillar(changes):
    here = with_balancer(**changes)
    preflight.observe(here, Journal())
    assert here.fleet.jobs == [([*NODES, "lb1"], True)]


def test_what_nodes_warn_of_is_told_once():
    values = {"web1": ["a", "b"], "web2": ["a"], "web3": "of another version"}
    replies = [Reply(node, {**VALUE, "warnings": texts}) for node, texts in values.items()]
    journal = Journal()
    preflight.observe(site(replies), journal)
    assert journal.warnings == ["web1, web2: a", "web1: b"]


def test_who_is_needed_must_answer():
    with pytest.raises(Refused) as refused:
        preflight.observe(site([silent("web2")]), Journal())
    assert str(refused.value) == (
        "web2: does not answer: is its salt-minion running? Start it there, or leave it out: nodes=web1,web3"
        " or skip_absent=True"
    )


def test_where_there_are_no_nodes_to_choose_none_is_to_be_left_out():
    with pytest.raises(Refused, match=r"is its salt-minion running\? Start it there\.$"):
        preflight.observe(site([silent("web2")], choice=False, skips=False), Journal())
    with pytest.raises(Refused, match=r" Start it there, or leave it out: skip_absent=True$"):
        preflight.observe(site([silent("web2")], choice=False), Journal())


@pytest.mark.parametrize("error", ["app.observe did not end within 120s", "Consul does not answer"])
def test_who_answers_and_cannot_tell_is_an_error_also_where_it_is_not_needed(error):
    with pytest.raises(Refused, match=f"^web2: {error}$"):
        preflight.observe(site([Reply("web2", None, error)], needed=("web1",)), Journal())


def test_where_nodes_are_chosen_the_others_may_say_what_they_want():
    chosen = {"nodes": ("web1",), "needed": ("web1",), "chosen": True}
    here, journal = site([Reply("web2", None, "Consul does not answer"), silent("web3")], **chosen), Journal()
    observed = preflight.observe(here, journal)
    assert here.observed == ["web1"] and set(observed.releases) == {"web1"}
    assert here.answering == ["web1", "web2"]  # they may test the others' instances


def test_data_is_found_on_nodes_that_were_not_chosen_too():
    chosen = {"nodes": ("web1",), "needed": ("web1",), "chosen": True}
    replies = [Reply("web3", {**VALUE, "data": "/data"}), Reply("web2", {"data": 5})]
    assert preflight.observe(site(replies, **chosen), Journal()).data == {"web3": "/data"}


def test_settings_on_nodes_that_were_not_chosen_count_too():
    """Else the same settings would have two numbers."""
    chosen = {"nodes": ("web1",), "needed": ("web1",), "chosen": True}
    replies = [Reply("web3", {"editions": {"1.0": {"run": []}}}), Reply("web2", {"editions": {"../1": None}})]
    assert preflight.observe(site(replies, **chosen), Journal()).editions == {
        "web1": VALUE["editions"],
        "web3": {"1.0": {"run": []}},
    }


def serving(*places, **changes):
    """Return a site whose web3 does not answer and need not, and whose clients find shop 1.0 on ``places``."""
    changes = {"nodes": ("web1", "web2"), "observed": ["web1", "web2"], "answering": ["web1", "web2"], **changes}
    found = [endpoint(node) for node in places]
    return site(discovery=SimpleNamespace(instances=lambda name, passing: found), known=frozenset(), **changes)


def test_an_instance_that_would_serve_on_where_nobody_looks_is_refused():
    with pytest.raises(Refused) as refused:
        preflight.refuse_unseen(serving("web1", "web3"))
    assert str(refused.value) == (
        "web3: does not answer, and clients get shop_1.0_100 on web3, which would serve on. Start the salt-minion there,"
        " or leave it there with nodes=web1,web2"
    )
    with pytest.raises(Refused, match="leave it there with salt-run deploy.app shop nodes=web1,web2 env=e$"):
        preflight.refuse_unseen(serving("web3", choice=False))


@pytest.mark.parametrize("places, changes", [(("web1",), {}), (("web3",), {"chosen": True}), (("web9",), {})])
def test_what_was_looked_at_or_left_by_choice_may_serve_on(places, changes):
    preflight.refuse_unseen(serving(*places, **changes))


def test_what_was_left_by_choice_is_in_the_plan():
    chosen = serving("web1", "web3", chosen=True)
    assert preflight.left(chosen) == ["clients still find the instances that nodes= leaves alone: shop_1.0_100 on web3"]
    assert preflight.left(serving("web1", chosen=True)) == [] == preflight.left(serving("web3"))


def test_another_version_is_refused():
    old = Reply("web2", {**VALUE, "saltdeploy": "0.0.1"})
    with pytest.raises(Refused, match=f"web2 has saltdeploy 0.0.1, the master {__version__}: run salt '\\*' saltutil"):
        preflight.observe(site([old]), Journal())


def test_a_node_that_applies_states_is_told():
    here, journal = site([Reply("web2", {**VALUE, "applying_states": True})]), Journal()
    preflight.observe(here, journal)
    assert journal.said == ["web2 applies states just now: an installation there waits for it"]


def test_an_installation_without_states_waits_for_none():
    replies = [Reply(n, {**VALUE, "applying_states": True, "prepared": True}) for n in ("web1", "web3")]
    here, journal = site(replies), Journal()
    assert preflight.observe(here, journal).prepared == {"web1", "web3"}
    assert journal.said == []


def test_a_master_that_keeps_pillars_is_told_to_forget_them():
    here = site(opts={"pillar_cache": True})
    preflight.observe(here, Journal())
    assert here.fleet.jobs == [
        ("saltutil.refresh_pillar", (), {"wait": True, "timeout": 45.0}),
        ("app.observe", ("shop",), {"refresh": True, "deployment": None, "compare": None}),
    ]


NOT_TAKEN = "web2: did not take in its pillar within 45s. Run: salt web2 saltutil.refresh_pillar wait=True"


@pytest.mark.parametrize(
    "reply, said",
    [
        (Reply("web2", False), NOT_TAKEN),
        (Reply("web2", None), NOT_TAKEN),
        # Salt returns True when its own time is over, too.
        (Reply("web2", True, seconds=45.2), NOT_TAKEN),
        (Reply("web2", None, "no such function"), "web2: no such function"),
        (silent("web2"), "web2: does not answer: is its salt-minion running?"),
    ],
)
def test_a_node_with_an_old_pillar_is_refused_where_it_is_needed(reply, said):
    here = site(opts={"pillar_cache": True})
    here.fleet.refreshed["web2"] = reply
    with pytest.raises(Refused) as refused:
        preflight.observe(here, Journal())
    assert str(refused.value) == said
    here.needed = ("web1", "web3")
    assert set(preflight.observe(here, Journal()).releases) == set(NODES)


def said(node="web1", **changes):
    """Return a site on which web1 says that it has an instance, with ``changes`` to what is true of it."""
    one = {**instance(node).__dict__, **changes}
    return site([Reply("web1", {**VALUE, "instances": [one], "stop_timeouts": {one["id"]: 10.0}})])


def test_what_a_node_says_of_its_own_instances_is_taken():
    [seen] = preflight.observe(said(), Journal()).instances
    assert seen == instance("web1")


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"node": "web3"}, "shop_1.0_100 is said to be on 'web3'"),
        ({"id": "shop_1.1_100"}, "'shop_1.1_100' is said to be 'shop' '1.0' in slot 100"),
        ({"app": "till", "id": "till_1.0_100"}, "till_1.0_100 is no instance of shop"),
        ({"version": "../1", "id": "shop_../1_100"}, "'shop_../1_100' is said to be 'shop' '../1' in slot 100"),
        ({"port": 22}, "shop_1.0_100 is said to have port 22"),
        ({"address": "192.0.2.9"}, "shop_1.0_100 is said to be at '192.0.2.9', and web1 has 127.0.0.1"),
        ({"slot": "100"}, "slot: found '100'"),
        ({"running": 1}, "running: found 1"),
        ({"colour": "red"}, "found {"),
    ],
)
def test_what_it_says_of_anything_else_is_refused_and_told_by_name(changes, problem):
    with pytest.raises(Refused) as refused:
        preflight.observe(said(**changes), Journal())
    assert str(refused.value).startswith(f"web1: its answer is not to be believed: {problem}")


@pytest.mark.parametrize("timeouts", [{}, {"shop_1.0_101": 10.0}, {"shop_1.0_100": 1e9}, {"shop_1.0_100": "10s"}])
def test_a_time_to_stop_that_no_unit_has_is_refused(timeouts):
    here = said()
    here.fleet.replies["web1"].value["stop_timeouts"] = timeouts
    with pytest.raises(Refused, match="web1: its answer is not to be believed: stop_timeouts: found "):
        preflight.observe(here, Journal())


@pytest.mark.parametrize("defined, started, most", [("10s", 600.0, 600.0), ("20m", 600.0, 1200.0)])
def test_the_deadlines_of_a_run_have_the_longest_time_to_stop(defined, started, most):
    """An instance keeps the time that it was started with. Its definition may be another one by now, or gone."""
    here, session = said(), Session({})
    here.fleet.replies["web1"].value["stop_timeouts"] = {"shop_1.0_100": started}
    here.app, here.record, session.journal = replace(APP, stop=stops.parse({"timeout": defined}, "")), dict, Journal()
    session.observe(here)
    assert here.app.stop.timeout == most
    assert stop_deadline(here.app, {"web1": ["shop_1.0_100"]}) > 2 * most


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"saltdeploy": __version__},
        {**VALUE, "instances": {}},
        {**VALUE, "instances": [None]},
        {**VALUE, "instances": [instance("web1").__dict__] * 2, "stop_timeouts": {"shop_1.0_100": 10.0}},
        {**VALUE, "releases": [1.0]},
        {**VALUE, "ports_taken": ["80"]},
        {**VALUE, "applying_states": "no"},
    ],
    ids=repr,
)
def test_an_answer_of_another_shape_is_refused(value):
    with pytest.raises(Refused, match="^web2: its answer is not to be believed: "):
        preflight.observe(site([Reply("web2", value)]), Journal())


GOOD = {"problems": [], "warnings": ["no token."]}


@pytest.mark.parametrize(
    "value, said",
    [
        ({**GOOD, "problems": ["no template"]}, "no template"),
        ({**GOOD, "problems": [1]}, "a sentence: found 1"),
        (["no template"], "lists of problems and of warnings are expected"),
        ({"a": 1}, "lists of problems and of warnings are expected"),
    ],
)
def test_what_a_node_says_of_the_files_is_refused_whatever_it_is(value, said):
    app, journal = replace(APP, config={"a.ini": "salt://a.ini"}), Journal()
    fleet = Fleet({}, {node: Reply(node, GOOD) for node in NODES})
    preflight.files(fleet, app, "1.0", NODES, journal)
    assert journal.warnings == [f"{', '.join(NODES)}: no token."]
    fleet.replies["web2"] = Reply("web2", value)
    with pytest.raises(Refused, match=f"^web2: .*{said}"):
        preflight.files(fleet, app, "1.0", NODES, journal)


def test_what_listens_where_its_node_was_before_is_taken_as_something_to_replace():
    [seen] = preflight.observe(said(address="192.0.2.9", tested=False), Journal()).instances
    assert not seen.good


# -- health -----------------------------------------------------------------------------------


class Catalog:
    """What discovery finds passing: at first, and after a while."""

    def __init__(self, first, later=None):
        self.first, self.later, self.waited = first, first if later is None else later, 0.0

    def instances(self, name, passing):
        assert (name, passing) == ("shop", True)
        return self.later if self.waited else self.first

    def wait(self, name, until, deadline, passing):
        self.waited = deadline - time.monotonic()
        return until(self.later)


def endpoint(node, minion=None, **changes):
    here = {"id": "shop_1.0_100", "node": node, "address": "127.0.0.1", "port": 100, **changes}
    return Endpoint(name="shop", meta={"minion": minion or node}, **here)


def healthy(catalog, *instances, version="1.0"):
    journal = Journal()
    desired = Desired(APP, version, 1, NODES)
    observed = preflight.health(catalog, desired, Observed(tuple(instances)), journal)
    return [i.node for i in observed.instances if i.good], journal


def test_what_passes_is_healthy_and_nothing_waits():
    catalog = Catalog([endpoint("web1")])
    assert healthy(catalog, instance("web1"))[0] == ["web1"] and not catalog.waited


def test_what_does_not_pass_has_the_time_of_a_check():
    catalog = Catalog([endpoint("web1")], [endpoint("web1"), endpoint("web2", address="127.0.0.2")])
    found, journal = healthy(catalog, instance("web1"), replace(instance("web2"), address="127.0.0.2"))
    assert found == ["web1", "web2"] and 4 < catalog.waited <= 5 and not journal.warnings
    assert journal.said == ["not healthy in discovery: shop_1.0_100 on web2. Waiting 5s for its checks"]


def test_what_does_not_pass_then_is_not_healthy():
    elsewhere = replace(instance("web2"), address="127.0.0.2")
    found, journal = healthy(Catalog([endpoint("web1")]), instance("web1"), elsewhere)
    assert found == ["web1"]
    assert journal.warnings == ["not healthy in discovery: shop_1.0_100 on web2"]


def test_what_is_replaced_anyway_is_not_waited_for():
    catalog = Catalog([])
    assert healthy(catalog, instance("web1"), version="2.0")[0] == [] and not catalog.waited


def test_a_registration_under_an_earlier_name_of_the_node_counts():
    assert healthy(Catalog([endpoint("web1", minion="old")]), instance("web1"))[0] == ["web1"]


def test_where_nothing_is_published_discovery_is_not_asked():
    assert healthy(None, instance("web1", published=False))[0] == []


def newest(version, stamp=""):
    return {"version": version, "stamp": stamp}


def test_all_nodes_have_the_same_newest_version():
    here = site([Reply(node, newest("1.1", node)) for node in NODES])
    assert preflight.newest(here, "1.0", {"s": "1.0"}) == ("1.1", dict.fromkeys(NODES, "1.1"))
    assert preflight.newest(here)[0] == "1.1"
    assert [job[1] for job in here.fleet.jobs] == [("shop", "1.0", {"s": "1.0"}, False), ("shop", "", {}, True)]
    # A file changed a moment ago on one of them.
    assert preflight.newest(site([Reply(n, newest("1.1", "" if n == "web2" else n)) for n in NODES]))[1] == {}


def test_two_nodes_with_two_versions():
    replies = [Reply(node, newest("1.1" if node == "web2" else "1.2")) for node in NODES]
    with pytest.raises(
        Refused, match="^the source of shop is not the same on all nodes: 1.1 on web2, 1.2 on web1 and we"
    ):
        preflight.newest(site(replies))
    folder = replace(APP, source=Source("path", "/srv/shop"))
    with pytest.raises(Refused, match="web3. Bring the same files to all of them, or name one with nodes=."):
        preflight.newest(site(replies, app=folder))


@pytest.mark.parametrize(
    "reply, said",
    [
        (silent("web1"), "^web1: does not answer: is its salt-minion running[?] Start it there"),
        (Reply("web1", None, "no index"), "^web1: no index$"),
        (Reply("web1", newest("../x")), "^web1: its answer is not to be believed: version: found"),
        (Reply("web1", {"version": "1.1"}), "^web1: its answer is not to be believed: found"),
    ],
)
def test_a_node_that_does_not_know_the_newest_version(reply, said):
    replies = [reply, *(Reply(node, newest("1.1")) for node in NODES[1:])]
    with pytest.raises(Refused, match=said):
        preflight.newest(site(replies, answering=()))


@pytest.mark.parametrize(
    "granted, user, missing",
    [
        ({"shop"}, "saltdeploy-deployer", "front"),
        ({"front"}, "saltdeploy-deployer", "shop"),
        (set(), "saltdeploy-deployer", "front and shop"),
        ({"front", "shop"}, "saltdeploy-deployer", ""),
        # An earlier version set it up, and an etcd of one's own.
        (None, "saltdeploy-deployer", ""),
        (set(), "deploy", ""),
        (set(), None, ""),
    ],
)
def test_an_app_without_rights_at_etcd_is_refused(granted, user, missing):
    nodes = {n: Node(n, "127.0.0.1", roles=roles) for n, roles in (("web1", ("app",)), ("web2", ("etcd-server",)))}
    found = {"skydns": {} if user is None else {"user": user}}
    app = replace(APP, service=Registration(name="front"))
    environment = Environment("e", nodes, {"shop": app}, discovery=found)
    discovery = SimpleNamespace(granted=lambda: granted)
    if not missing:
        preflight.rights(discovery, app, environment)
        return
    with pytest.raises(Refused, match=f"no rights at etcd yet to register {missing}. Run: salt web2 state.apply"):
        preflight.rights(discovery, app, environment)


def test_what_nodes_have_published_by_now_is_what_they_say_in_the_right_form():
    one, candidate = asdict(instance("web1")), asdict(instance("web1", slot=101, published=False))
    timeouts = {one["id"]: 5.0, candidate["id"]: 5.0}
    of_another = {**VALUE, "instances": [asdict(instance("web9"))], "stop_timeouts": timeouts}
    replies = [
        Reply("web1", {**VALUE, "instances": [one, candidate], "stop_timeouts": timeouts}),
        Reply("web2", of_another),
        Reply("web3", error="does not answer", silent=True),
    ]
    here = site(replies)
    assert preflight.published(here, NODES) == {("web1", one["id"])}
    [(function, args, options)] = here.fleet.jobs
    assert (function, args, options["refresh"]) == ("app.observe", ("shop",), [])
