"""environment.up and environment.down: the order of nodes, and the truth about runs that stop on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from saltdeploy import discovery
from saltdeploy.core.conditions import Conditions, Window
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import DONE, NOT_REVERTED, REFUSED, REVERTED, DiscoveryUnavailable, Refused
from saltdeploy.discovery import Endpoint
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import down, several, up

from tests.support.fleet import make_app
from tests.support.verbs import WELL, Catalog, Minions, call

CHANGED = {"a": {"changes": {"x": 1}, "result": True}, "b": {"changes": {}, "result": True}}
SAME = {"a": {"changes": {}, "result": True}}
WOULD = {"a": {"changes": {}, "result": None}, "b": {"changes": {}, "result": False, "comment": "no Consul"}}


def environment(*apps, **roles):
    nodes = {name: Node(name, f"10.0.0.{number}", tuple(given)) for number, (name, given) in enumerate(roles.items())}
    return Environment("e", nodes, {app: make_app() for app in apps})


@pytest.mark.parametrize(
    "roles, stages",
    [
        (
            {"lb": ["loadbalancer"], "w": ["app"], "s": ["consul-server", "app"], "m": ["master"]},
            [("Consul servers", ["s"]), ("nodes", ["w", "m"]), ("load balancers", ["lb"])],
        ),
        ({"one": ["consul-server", "app", "loadbalancer"]}, [("Consul servers", ["one"])]),
        ({"a": [], "b": ["app"]}, [("nodes", ["a", "b"])]),
    ],
)
def test_servers_come_first_and_load_balancers_last(roles, stages):
    assert up.stages(environment(**roles)) == stages


@pytest.fixture
def bring_up(monkeypatch):
    """Bring up an environment whose nodes answer so. ``deployed`` is the result of the apps, or an exception."""

    def run(here, states, deployed=None, test=False, **answers):
        made = Minions(**{"state.apply": states, **answers})
        monkeypatch.setattr(up, "Fleet", lambda opts: made)

        def deploy(*args, **options):
            if isinstance(deployed, BaseException):
                raise deployed
            return deployed

        monkeypatch.setattr(several, "run", deploy)
        session = call(environment=lambda env: here)
        result = up.run(session, "e", test, "", None)
        run.jobs, run.warnings = [job for job, *_ in made.jobs], session.journal.warnings
        return result

    return run


NODES = {"s": ["consul-server"], "w": ["app"]}


def test_states_stage_by_stage_and_then_the_apps(bring_up):
    done = {"runs": [], "verdict": "all 2 apps are deployed in e", "retcode": DONE}
    result = bring_up(environment("shop", **NODES), {"s": CHANGED, "w": SAME}, done)
    assert bring_up.jobs == ["test.ping", *["saltutil.sync_all", "state.apply"] * 2]
    assert result["states"] == {"s": 1, "w": 0} and result["retcode"] == DONE
    assert result["verdict"] == "all 2 apps are deployed in e (1 state changed something on 1 node)"


def test_an_environment_without_apps_is_up_after_its_states(bring_up):
    result = bring_up(environment(**NODES), {"s": SAME, "w": SAME})
    assert (result["verdict"], result["retcode"]) == ("e is up, and has no apps: no state changed anything", DONE)


def test_a_node_that_does_not_answer_is_refused_before_any_state(bring_up):
    silent = Reply("w", None, "does not answer", silent=True)
    with pytest.raises(Refused, match="^w: does not answer. Accept its key, start it, or take it out of `nodes`."):
        bring_up(environment("shop", **NODES), {}, **{"test.ping": {"w": silent}})


@pytest.mark.parametrize("answer", [Reply("s", WOULD, "b: no Consul"), Reply("s", ["no top file"], "no top file"), 5])
def test_states_that_fail_end_the_run_and_are_told(bring_up, answer):
    result = bring_up(environment("shop", **NODES), {"s": answer, "w": SAME})
    assert bring_up.jobs == ["test.ping", "saltutil.sync_all", "state.apply"]
    assert result["retcode"] == NOT_REVERTED and result["runs"] == []
    assert result["verdict"].startswith("the states of e are not all applied, and no app was deployed: states on s: ")
    assert result["verdict"].endswith(". Then salt-run environment.up e goes on.")


@pytest.mark.parametrize(
    "deployed, code, said",
    [
        (Refused("shop requires postgres"), NOT_REVERTED, "and nothing was deployed: shop requires postgres"),
        (DiscoveryUnavailable("Consul does not answer"), NOT_REVERTED, "nothing was deployed: Consul does not answer"),
        (KeyboardInterrupt(), NOT_REVERTED, "nothing was deployed: it was interrupted"),
        ({"runs": [], "verdict": "refused", "retcode": REFUSED}, REVERTED, "refused (1 state changed something"),
        ({"runs": [], "verdict": "look", "retcode": NOT_REVERTED}, NOT_REVERTED, "look (1 state"),
    ],
)
def test_nobody_is_told_that_nothing_was_changed_after_the_states(bring_up, deployed, code, said):
    result = bring_up(environment("shop", **NODES), {"s": CHANGED, "w": SAME}, deployed)
    assert result["retcode"] == code and said in result["verdict"]
    assert "states" in result and "nothing was changed" not in result["verdict"]


CLOSED = Conditions(windows=(Window(0, 1, (), "UTC"),))


def test_outside_of_the_windows_nothing_begins(bring_up, take_down):
    here = replace(environment("shop", **NODES), conditions=CLOSED)
    for run in (lambda: bring_up(here, {}), lambda: take_down(here, "confirm", "platform")):
        with pytest.raises(Refused, match="^e is closed now. It is open"):
            run()
    assert take_down(here, test=True)["retcode"] == DONE


def test_a_silent_node_that_is_out_of_use_is_left_out(bring_up, monkeypatch):
    found = Catalog({"deploy/e/.away/w": {"by": "ann"}})
    monkeypatch.setattr(discovery, "connect", lambda config: found)
    silent = Reply("w", None, "does not answer", silent=True)
    done = {"runs": [], "verdict": "done", "retcode": DONE}
    result = bring_up(environment("shop", **NODES), {"s": SAME}, done, **{"test.ping": {"w": silent}})
    assert result["states"] == {"s": 0} and result["retcode"] == DONE
    assert bring_up.warnings == ["w is left out: does not answer"]


def test_a_second_run_that_changes_nothing_is_refused(bring_up):
    result = bring_up(environment("shop", **NODES), {"s": SAME, "w": SAME}, Refused("e is being deployed by ann"))
    assert (result["retcode"], result["runs"]) == (REFUSED, [])
    assert "no state changed anything), and nothing was deployed: e is being deployed by ann" in result["verdict"]


def test_a_dry_run_counts_and_says_why_the_apps_cannot_be_planned_yet(bring_up):
    failing = {"s": Reply("s", WOULD, "b: no Consul; c: no Consul"), "w": SAME}
    result = bring_up(environment("shop", **NODES), failing, Refused("no leader"), test=True)
    assert bring_up.jobs == ["test.ping", "state.apply", "state.apply"]
    assert (result["states"], result["plans"], result["retcode"]) == ({"s": 1, "w": 0}, [], DONE)
    assert bring_up.warnings == [
        "s: states that cannot tell before others are applied: b: no Consul and 1 more",
        "the apps cannot be planned before the states are applied: no leader",
    ]
    # If the states are applied already, that is no reason.
    with pytest.raises(Refused, match="^no leader"):
        bring_up(environment("shop", **NODES), {"s": SAME, "w": SAME}, Refused("no leader"), test=True)


def test_a_dry_run_of_states_that_cannot_be_rendered_fails(bring_up):
    broken = {"s": Reply("s", ["Rendering failed"], "Rendering failed"), "w": SAME}
    result = bring_up(environment("shop", **NODES), broken, test=True)
    assert (result["verdict"], result["retcode"]) == (
        "the states of e would fail, nothing was changed: states on s: Rendering failed",
        REVERTED,
    )


@pytest.fixture
def take_down(monkeypatch):
    """Take down an environment with ``consul``, as its nodes and Consul tell. ``removed`` are the exit codes of apps."""

    def run(here, *flags, machines=None, catalog=None, removed=(), states=None, test=False, reason=""):
        given = {"environment.machine": {n: {**WELL, **(machines or {}).get(n, {})} for n in here.nodes}}
        made = Minions(**given, **{"state.apply": states or dict.fromkeys(here.nodes, CHANGED)})
        monkeypatch.setattr(down, "Fleet", lambda opts: made)
        monkeypatch.setattr(discovery, "connect", lambda config: catalog or Catalog())
        monkeypatch.setattr(down.status, "undefined", lambda backend, environment: [])
        codes = dict(removed)

        class Run:
            interrupts = type("Interrupts", (), {"count": 0})()

            def __init__(self, session, environment, apps, most):
                run.apps = apps

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                pass

            def remove(self, verb):
                self.interrupts.count = run.count
                return {app: {"app": app, "retcode": codes.get(app, DONE), "changed": True} for app in run.apps}

            def locked(self, verb, doing, reason, patience, act):
                return act()

        monkeypatch.setattr(several, "Several", Run)
        raw = {"nodes": {n: {"address": "10.0.0.1"} for n in here.nodes}, "consul": {"version": "1.22.3"}}
        session = call(environment=lambda env: here, pillar=lambda: {"environments": {"e": raw}})
        confirm, platform, data = (flag in flags for flag in ("confirm", "platform", "data"))
        result = down.run(session, "e", confirm, platform, data, test, reason, None)
        run.jobs = made.jobs
        return result

    run.count = 0
    return run


HERE = {"w1": {"releases": ["till"]}, "w2": {"instances": ["blog_1.0_80"]}}


def known(*apps):
    """Return a Consul that has a record of each of these apps."""
    record = {"version": "1.0", "deployment": "d", "time": 0.0, "nodes": {}}
    return Catalog({f"deploy/e/{app}/current": record for app in apps})


def test_only_apps_that_are_there_are_removed(take_down):
    here = environment("shop", "mail", "till", w1=["app"], w2=["app"])
    plan = take_down(here, machines=HERE, catalog=known("shop"), test=True)
    assert plan["plan"] == ["remove the app blog", "remove the app shop", "remove the app till"]
    with pytest.raises(
        Refused, match="^say confirm=True to remove the app blog; remove the app shop; remove the app till"
    ):
        take_down(here, machines=HERE, catalog=known("shop"))
    result = take_down(here, "confirm", machines=HERE, catalog=known("shop"))
    assert take_down.apps == ["blog", "shop", "till"]
    assert (result["verdict"], result["retcode"]) == ("all apps of e are removed", DONE)
    assert [job for job, *_ in take_down.jobs] == ["test.ping", "environment.machine"]


def test_candidates_of_this_environment_count_and_services_of_others_do_not(take_down):
    catalog = Catalog()
    meta = {"minion": "w1", "environment": "other"}
    catalog.found = [Endpoint("shop_1.0_80", "shop", "w1", "10.0.0.1", 80, meta=meta)]
    here = environment("shop", w1=["app"])
    assert take_down(here, catalog=catalog, test=True)["plan"] == ["nothing to do: no app is there"]
    catalog.found = [Endpoint("shop_1.0_80", "shop", "w1", "10.0.0.1", 80, meta={**meta, "environment": "e"})]
    assert take_down(here, catalog=catalog, test=True)["plan"] == ["remove the app shop"]


def test_the_platform_goes_after_the_apps(take_down):
    here = environment("shop", w1=["app"])
    result = take_down(here, "confirm", "platform", "data", catalog=known("shop"))
    job, mods = take_down.jobs[-1]
    assert (job, mods) == ("state.apply", "loadbalancer.clean,dns.clean,consul.clean")
    assert (
        result["verdict"] == "all apps of e are removed, and so is the platform (1 state changed something on 1 node)"
    )


@pytest.mark.parametrize("removed, count, code", [({"shop": REVERTED}, 0, REVERTED), ({}, 1, NOT_REVERTED)])
def test_the_platform_stays_if_an_app_does_or_somebody_interrupts(take_down, removed, count, code):
    take_down.count = count
    result = take_down(environment("shop", w1=["app"]), "confirm", "platform", catalog=known("shop"), removed=removed)
    assert result["retcode"] == code and "state.apply" not in [job for job, *_ in take_down.jobs]


def test_states_that_fail_are_gone_on_with_by_the_same_command(take_down):
    failing = {"w1": Reply("w1", WOULD, "b: dpkg is locked")}
    result = take_down(environment(w1=["app"]), "confirm", "platform", "data", states=failing)
    assert result["retcode"] == NOT_REVERTED
    assert "and the platform is not removed: states on w1: b: dpkg is locked. Then" in result["verdict"]
    assert "`" not in result["verdict"] and "down e platform=True data=True confirm=True goes on" in result["verdict"]


class Gone(Catalog):
    def leader(self):
        raise DiscoveryUnavailable("Consul does not answer.")


def test_a_run_goes_on_where_consul_is_gone_already_and_nothing_runs(take_down):
    here = environment("shop", w1=["app"], w2=["app"])
    assert take_down(here, "confirm", "platform", catalog=Gone())["retcode"] == DONE
    for flags in (("confirm",), ("confirm", "platform")):
        with pytest.raises(
            Refused, match="^Consul does not answer. Bring Consul back first. It has to take these from"
        ):
            take_down(here, *flags, machines=HERE, catalog=Gone())
    with pytest.raises(Refused, match="^Consul does not answer. Bring Consul back first.$"):
        take_down(here, "confirm", catalog=Gone())


def test_data_goes_only_with_the_platform(take_down):
    with pytest.raises(Refused, match="^data=True: is for platform=True"):
        take_down(environment(w1=["app"]), "confirm", "data")
