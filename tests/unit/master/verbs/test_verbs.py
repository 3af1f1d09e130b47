"""What the runner's verbs do where the world changes between two looks at it."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import replace
from types import SimpleNamespace

import pytest
from saltdeploy.core import records, traffic
from saltdeploy.core.errors import DONE, INTERRUPTS, NOT_REVERTED, REVERTED, DiscoveryUnavailable, Refused
from saltdeploy.core.model import Environment, Frontend, Node, Source, Stop, Webhook
from saltdeploy.discovery import Endpoint
from saltdeploy.master import preflight, verbs
from saltdeploy.master.journal import Journal
from saltdeploy.master.outcome import Ending, Outcome
from saltdeploy.master.remote.jobs import Jobs
from saltdeploy.master.rollout.context import Identity
from saltdeploy.master.verbs import abort, deploy, promote, rollouttask, session, task, withdraw
from saltdeploy.master.verbs.appsite import Site
from saltdeploy.master.verbs.session import Session
from saltdeploy.master.verbs.task import Task
from saltdeploy.planning.model import Desired, Plan

from tests.support.fleet import instance, make_app, observe

ABOUT = {"nodes": ["web1"], "instances": 1, "from": "1.0", "before": 1, "since": 0, "by": "me", "reason": ""}
PAUSED = {"version": "2.0", "deployment": "d", "time": 0, "nodes": {}, "paused": ABOUT}


def call(**methods):
    """Return a Session with these methods in place of its own."""
    made = Session({})
    for name, method in methods.items():
        assert hasattr(made, name)
        setattr(made, name, method)
    return made


def arguments_of(verb, **given):
    """Return the arguments of ``verb``: those in ``given``, and None for the others."""
    known = {"name": "shop", "version": "1.0", "instances": 2, "test": False, **given}
    return {name: known.get(name) for name in list(inspect.signature(verb.run).parameters)[1:]}


@pytest.mark.parametrize("record", [{"version": "1.0", "nodes": {}}, {}, {**PAUSED, "paused": {"since": 1}}])
def test_a_pause_that_somebody_ended_before_the_lock_was_had_is_not_promoted(record, monkeypatch):
    """Else what was taken back would go to all users."""
    here = SimpleNamespace(record=lambda: record, nodes=("web1",))
    made = call(
        definitions=lambda name, env: (Environment("e", {}, {}), make_app()),
        site=lambda *args, **kwargs: contextlib.nullcontext(here),
    )
    monkeypatch.setattr(promote, "paused_release", lambda environment, app: ("2.0", PAUSED["paused"]))
    monkeypatch.setattr(task, "carry_out", lambda session, site, verb, decide, reason, test: decide(observe()))
    with pytest.raises(Refused, match="somebody went on with shop meanwhile: see salt-run deploy.status shop env=e"):
        promote.run(made, "shop", None, False, None)


@pytest.mark.parametrize(
    "verb", ["deploy", "check", "test", "publish", "withdraw", "promote", "abort", "rollback", "scale"]
)
def test_nodes_are_to_be_left_out_only_where_they_can_be_named(verb, monkeypatch):
    """Of a node that does not answer."""
    asked, verb = [], getattr(verbs, verb)

    def site_of(environment, app, nodes=None, choice=True, back=False):
        asked.append(choice)
        raise Refused("web1 does not answer")

    made = call(definitions=lambda name, env, **options: (Environment("e", {}, {}), make_app()), site=site_of)
    monkeypatch.setattr(promote, "paused_release", lambda environment, app: ("2.0", PAUSED["paused"]))
    with pytest.raises(Refused, match="does not answer"):
        verb.run(made, **arguments_of(verb))
    assert asked == ["nodes" in arguments_of(verb)]


def test_a_check_warns_of_a_load_balancer_without_room_and_of_a_webhook_without_token(monkeypatch, tmp_path):
    """As the deployment does."""

    def end():
        raise Refused("far enough")

    app = replace(make_app(), frontend=Frontend(80))
    place = SimpleNamespace(
        nodes=("web1",),
        prefix="deploy/e/shop/",
        discovery=SimpleNamespace(read=lambda key: (None, 0, None), instances=lambda name, passing: []),
        not_paused=lambda: None,
        refuse_strangers=lambda observed: None,
        observed=None,
        record=lambda: {},
    )
    webhook = Webhook("https://chat.example.com/x", token_file=str(tmp_path / "token"))
    made = call(
        definitions=lambda name, env, **options: (SimpleNamespace(name="e", nodes={}, webhook=webhook), app),
        site=lambda *args, **kwargs: contextlib.nullcontext(place),
        observe=lambda site: replace(observe(), slots={"lb1": 3}),
        advise=lambda app: None,
    )
    monkeypatch.setattr(traffic, "refuse_unseen", lambda *args: None)
    monkeypatch.setattr(preflight, "refuse_unseen", lambda site: None)
    monkeypatch.setattr(records, "pauses", lambda *args: end())
    with pytest.raises(Refused, match="far enough"):
        verbs.check.run(made, "shop", None, "1.0", 2, None, False)
    room, token = made.journal.warnings
    assert token == (
        f"environments:e:notify:webhook:token_file {tmp_path}/token: No such file or directory, on the master. Without"
        " the token no event is sent to the webhook."
    )
    assert room.startswith("lb1 has 3 slots for shop, and two releases of 2 instances need 4")


@pytest.mark.parametrize("nodes, chosen", [(["web2", "web1"], None), (["web1"], ["web1"])])
def test_who_paused_on_all_nodes_is_told_of_others_that_serve_when_it_goes_on(nodes, chosen, monkeypatch):
    seen = []
    environment = Environment("e", {n: Node(n, n, ("app",)) for n in ("web1", "web2")}, {})
    made = call(
        definitions=lambda *args: (environment, make_app()),
        site=lambda _environment, _app, nodes, choice: seen.append(nodes) or contextlib.nullcontext(None),
    )
    monkeypatch.setattr(promote, "paused_release", lambda *args: ("1.0", {"nodes": nodes, "instances": 2}))
    monkeypatch.setattr(task, "carry_out", lambda *args: {})
    assert (promote.run(made, "shop", None, False, None), seen) == ({}, [chosen])


@pytest.mark.parametrize("acts, told", [(True, ["hangs"]), (False, ["hangs", "the login in source:token_file"])])
def test_a_run_is_told_what_may_lose_requests_and_a_plan_everything(acts, told):
    made, app = Session({}), make_app()
    source = Source("archive", "http://files/shop.tar", sha256="0" * 64, token_file="/t")
    app = replace(app, source=source, strategy=replace(app.strategy, min_healthy_time=0.3))
    made.advise(SimpleNamespace(app=app, environment=Environment("e", {}, {})), acts)
    assert len(made.journal.warnings) == len(told)
    assert all(part in warning for part, warning in zip(told, made.journal.warnings))


@pytest.mark.parametrize(
    "verb, refused",
    [
        *((verb, True) for verb in ("deploy", "check", "publish", "scale")),
        *((verb, False) for verb in ("promote", "abort", "rollback", "restart", "withdraw", "prune", "test")),
    ],
)
def test_an_app_that_clashes_with_another_is_not_started_and_can_be_operated(verb, refused, monkeypatch):
    """Somebody may have added the other app, with a port that is taken, while this one serves."""
    verb, reached = getattr(verbs, verb), Refused("the site was reached")
    environment = Environment("e", {}, {"shop": make_app()}, clashing={"shop": "80 is the port of till, too."})

    def reach(*args, **kwargs):
        raise reached

    made = call(_environment_of=lambda *args: (environment, "shop"), site=reach, whole_site=reach)
    monkeypatch.setattr(promote, "paused_release", reach)
    with pytest.raises(Refused) as caught:
        verb.run(made, **arguments_of(verb))
    assert (str(caught.value), made.journal.warnings) == (
        (environment.clashing["shop"], []) if refused else (str(reached), [environment.clashing["shop"]])
    )


@pytest.mark.parametrize("name", ["Shop", "shop_"])
def test_a_name_that_cannot_be_one_is_told_the_similar_name(name):
    found = Environment("e", {}, {"shop": make_app()})
    with pytest.raises(Refused, match=r"did you mean `shop`"):
        call(_environment_of=lambda *args: (found, name)).defined_or_not(name, None)


@pytest.mark.parametrize(
    "record, release",
    [
        ({}, None),
        ({"version": "1.0"}, "1.0"),
        (PAUSED, "1.0"),
        ({"version": "2.0", "frozen": {"why": "a hook"}}, None),
    ],
)
def test_the_release_that_users_have_for_good(record, release):
    assert records.settled(record) == release


@pytest.mark.parametrize("fault", [DiscoveryUnavailable("no leader"), *(interrupt() for interrupt in INTERRUPTS)])
def test_a_withdrawal_whose_record_could_not_be_written_is_told(fault):
    """Nobody can tell whether it was: it is no refusal."""

    def write(entries):
        raise fault

    record = {"version": "1.0", "nodes": {"web1": ["shop_1.0_100"]}}
    site = SimpleNamespace(record=lambda: record, prefix="deploy/e/shop/", app=make_app())
    lock = SimpleNamespace(write=write)
    ending = withdraw.act(Jobs(None, Journal()), site, [instance("web1")], lock, Identity("d1", "ann"))
    assert (ending.code, ending.record) == (NOT_REVERTED, record)
    assert ending.why in ("no leader", "it was interrupted")


def test_a_deployment_has_the_longest_time_to_stop_of_all_that_is_there(monkeypatch):
    desired = Desired(make_app(), "2.0", 1, ("web1",))
    there, seen = replace(make_app(), stop=Stop("TERM", 600.0)), []

    def deployment(context, before, plan):
        seen.append(context.desired)
        return SimpleNamespace(run=lambda: None, ledger=SimpleNamespace(record={}))

    monkeypatch.setattr(rollouttask, "Deployment", deployment)
    site = SimpleNamespace(app=there, record=dict, fleet=None, discovery=None, environment=None)
    site.answering, site.observed, site.tolerated = ["web1"], ["web1"], frozenset()
    ending = rollouttask._act(
        Journal(), site, observe(), desired, Plan({}, (), (), True), None, Identity("d1", "ann"), ""
    )
    assert ending == Ending(Outcome.DONE, {})
    assert seen[0].app.stop.timeout == 600.0


@pytest.mark.parametrize(
    "promoted, aborted, code",
    [
        (DONE, None, DONE),
        (NOT_REVERTED, None, NOT_REVERTED),
        (REVERTED, DONE, REVERTED),
        (REVERTED, REVERTED, NOT_REVERTED),
    ],
)
def test_a_pause_for_a_time_that_cannot_be_gone_on_from_is_gone_back_from(monkeypatch, promoted, aborted, code):
    """…all the way: nobody is there to say how to go on."""
    record = {**PAUSED, "nodes": {"web1": ["shop_2.0_100"]}}
    backend = SimpleNamespace(wait=lambda *args, **kwargs: False, read=lambda key: (record, 0, ""))
    monkeypatch.setattr(deploy.discovery, "connect", lambda config: contextlib.nullcontext(backend))
    reasons, why = [], "test on web2: no\nits last lines:\nno database"
    monkeypatch.setattr(deploy, "_measure", lambda *args: "")
    monkeypatch.setattr(promote, "run", lambda *args: {"retcode": promoted, "why": why})
    monkeypatch.setattr(abort, "run", lambda *args: reasons.append(args[-1]) or {"retcode": aborted})
    environment, result = SimpleNamespace(name="e", discovery={}), {"record": record, "reason": "", "retcode": DONE}
    assert deploy._wait_out(Session({}), environment, make_app(), result)["retcode"] == code
    assert reasons == ([] if aborted is None else ["after the pause, test on web2: no"])


@pytest.mark.parametrize(
    "user, sudo, name",
    [
        ("ann", None, "ann"),  # of salt-api
        ("sudo_ann", "ann", "ann"),
        ("UNKNOWN", "ann", "ann"),
        (None, "ann", "ann"),
        (None, None, "process"),
    ],
)
def test_who_did_it_is_whom_salt_has_authenticated(monkeypatch, user, sudo, name):
    monkeypatch.setattr(session.getpass, "getuser", lambda: "process")
    monkeypatch.setattr(session.os, "environ", {"SUDO_USER": sudo} if sudo else {})
    assert Session({}, user=user).owner.partition("@")[0] == name


class Foreign:
    """Discovery with services that saltdeploy did not register, and a record that tolerates some."""

    def __init__(self, *ids, tolerated=()):
        self.found = [Endpoint(i, "shop", "web1", "10.0.0.1", 80, meta={}) for i in ids]
        self.record = {"version": "1.0", "deployment": "d", "time": 0, "nodes": {}, "tolerated": list(tolerated)}

    def instances(self, name, passing=False):
        return self.found

    def read(self, key):
        return self.record, 0, ""


def site_with(backend):
    environment = Environment("e", {"web1": Node("web1", "10.0.0.1")}, {})
    return Site(environment, make_app(), None, backend, ("web1",), ("web1",))


def test_what_keep_left_to_clients_once_is_tolerated_later_without_it():
    here = site_with(Foreign("legacy", "older", tolerated=["legacy on web1", "gone on web1"]))
    with pytest.raises(Refused, match="older on web1, which saltdeploy did not register") as refused:
        here.refuse_strangers(observe())
    assert "legacy" not in str(refused.value) and here.tolerated == {"legacy on web1"}
    here.refuse_strangers(observe(), keep=True)
    assert here.tolerated == {"legacy on web1", "older on web1"}
    here.tell_strangers(observe())
    assert here.tolerated == {"legacy on web1"}


def test_data_that_the_record_has_and_a_node_has_not_is_lost(monkeypatch):
    """A node that does not answer may have it."""
    backend = Foreign()
    backend.record["data"], backend.record["nodes"] = ["web1", "web2", "web3"], {"web4": ["shop_1.0_100"]}
    here = site_with(backend)
    here.answering = here.observed = ["web1", "web2"]
    monkeypatch.setattr(session.preflight, "observe", lambda *args: observe(data={"web2": "/data"}))
    seen = Session({}).observe(here)
    assert seen.lost == {"web1"} and seen.data == {"web2": "/data", "web3": "", "web4": ""}


@pytest.mark.parametrize("data", [True, False])
def test_an_abort_is_not_refused_where_the_new_release_has_written_data(data, monkeypatch):
    """Nor are instances of an app without data spread over all nodes then."""
    app = replace(make_app(), data=data)
    new, old = instance("web2", "2.0"), instance("web1", "1.0")
    plans, observed = [], observe(new, old, data={"web1": "/d", "web2": "/d"})
    here = SimpleNamespace(app=app, record=lambda: PAUSED, nodes=("web1", "web2"), tell_strangers=lambda observed: None)
    made = call(
        definitions=lambda name, env: (SimpleNamespace(name="e"), app),
        site=lambda *args, **kwargs: contextlib.nullcontext(here),
    )

    def decide(_session, _site, observed, desired, make, left):
        plans.append((desired.move, make(desired, observed)))
        return Task("1.0", [], True, None, None)

    monkeypatch.setattr(task, "carry_out", lambda session, site, verb, decide, *args: decide(observed))
    monkeypatch.setattr(rollouttask, "decide", decide)
    abort.run(made, "shop", None, False, None)
    [(move, made)] = plans
    assert move is data and made.waves[-1].retire == {"web2": (new.id,)} and not made.empty
