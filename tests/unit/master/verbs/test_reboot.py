"""Machines are rebooted in turns, and only if no client would miss one of them."""

from __future__ import annotations

import os
import signal

import pytest
from saltdeploy import discovery
from saltdeploy.core.environment import Environment, Node
from saltdeploy.core.errors import DONE, NOT_REVERTED, Refused
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.verbs import reboot
from saltdeploy.system import processes

from tests.support.verbs import WELL, Catalog, call

SERVER = ("consul-server", "app")


def environment(**nodes):
    """Return an Environment of nodes, each given by its zone and its roles."""
    numbered = enumerate(nodes.items(), 1)
    return Environment("e", {n: Node(n, f"10.0.0.{i}", roles, zone) for i, (n, (zone, *roles)) in numbered}, {})


@pytest.mark.parametrize(
    "nodes, turns",
    [
        ({"a": ("",), "b": ("",)}, [("", ["a"]), ("", ["b"])]),
        ({"a": ("x",), "b": ("y",), "c": ("x",)}, [("x", ["a", "c"]), ("y", ["b"])]),
        # All servers but one are in zone x.
        (
            {"a": ("x", *SERVER), "b": ("x", *SERVER), "c": ("y", *SERVER), "d": ("x", "app")},
            [("x", ["a"]), ("x", ["b"]), ("y", ["c"]), ("x", ["d"])],
        ),
        (
            {"a": ("x", *SERVER), "b": ("y", *SERVER), "c": ("z", *SERVER), "d": ("x", "app")},
            [("x", ["a", "d"]), ("y", ["b"]), ("z", ["c"])],
        ),
        # A single server has nobody who could stand in for it.
        ({"a": ("x", *SERVER), "b": ("x", "app")}, [("x", ["a"]), ("x", ["b"])]),
    ],
)
def test_a_zone_is_out_at_once_and_consul_keeps_its_majority(nodes, turns):
    made = environment(**nodes)
    assert reboot.turns(made, list(made.nodes)) == turns


@pytest.fixture
def here(monkeypatch):
    """Three servers and a further node, all but the master out of use. ``answers`` has the answer of each, in turn."""

    class Here:
        environment = environment(
            a=("", *SERVER), b=("", *SERVER), c=("", *SERVER), d=("", "app"), m=("", "master"), l=("", "loadbalancer")
        )

        def __init__(self):
            self.away = dict.fromkeys("abdm", "")
            self.session = call(
                environment=lambda env: self.environment, pillar=dict, out_of_use=lambda *args: self.away
            )
            self.answers, self.lost = {node: [WELL] for node in self.environment.nodes}, {}
            self.asked, self.catalog = [], Catalog()

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            pass

        def run(self, function, nodes, *args, on_reply=None, **options):
            self.asked.append((function, sorted(nodes)))
            if function == "environment.reboot":
                replies = {node: Reply(node, True, self.lost.get(node, "")) for node in nodes}
                for node in nodes:
                    self.answers[node] = self.answers[node][1:] or [{**WELL, "boot": "b2"}]
                    on_reply(replies[node])
                return replies
            return {node: self._answer(node) for node in nodes}

        def _answer(self, node):
            some = self.answers[node]
            value = some.pop(0) if len(some) > 1 and self.rebooting else some[0]
            return Reply(node, None, value, silent=True) if isinstance(value, str) else Reply(node, value)

        @property
        def rebooting(self):
            return any(function == "environment.reboot" for function, _ in self.asked)

        def zones(self, nodes=None, services=False):
            return reboot.zones(self.session, "e", nodes, services)

        def reboot(self, nodes, services=False, timeout=30, test=False):
            return reboot.run(self.session, "e", nodes, services, timeout, test, "")

    made = Here()

    monkeypatch.setattr(reboot, "Fleet", lambda opts: made)
    monkeypatch.setattr(reboot, "ASK", 0.01)
    monkeypatch.setattr(reboot, "VOTES", 0.01)
    monkeypatch.setattr(discovery, "connect", lambda config: made.catalog)
    return made


def test_it_waits_until_each_is_back_with_its_agent(here):
    here.answers["d"] = [WELL, WELL, "does not answer", {**WELL, "boot": "b2", "agent": "no leader"}]
    here.answers["d"].append({**WELL, "boot": "b2"})
    result = here.reboot("a,d")
    assert (result["retcode"], result["nodes"]) == (DONE, ["a", "d"])
    assert result["verdict"].startswith("a, d are back after a reboot, ")
    # The first look is at the other servers, too. Afterwards, only machines that are not back yet are asked.
    assert [nodes for _, nodes in here.asked] == [["a", "b", "c", "d"], ["a", "d"], ["a", "d"], ["d"], ["d"], ["d"]]


@pytest.mark.parametrize(
    "answer, why",
    [
        (WELL, "d: it has not gone down"),
        ("does not answer", "d: does not answer"),
        ({**WELL, "boot": "b2", "agent": "no leader"}, "d: no leader"),
    ],
)
def test_a_machine_that_does_not_come_back_needs_a_look(here, answer, why):
    here.answers["d"] = [WELL, answer]
    result = here.reboot("d", timeout=0.05)
    assert result["retcode"] == NOT_REVERTED
    assert (
        f"not back after a reboot, look now: {why}. Nothing is placed there in e before salt-run" in result["verdict"]
    )


@pytest.mark.parametrize(
    "nodes, answers, why",
    [
        (None, {}, "which machines"),
        ("x", {}, "e has no node 'x'"),
        ("m", {}, "m: it runs the Salt master"),
        ("c", {}, "c: in use. Run salt-run deploy.evacuate c env=e first."),
        ("a,b", {}, "without a, b, Consul has no majority of its 3 servers"),
        ("a", {"b": "does not answer"}, "the other Consul servers are no majority: b: does not answer"),
        ("a", {"c": {**WELL, "agent": "no leader"}}, "the other Consul servers are no majority: c: no leader"),
        ("d", {"d": "does not answer"}, "d: does not answer"),
        ("d", {"d": {**WELL, "instances": ["shop_1.0_8001"]}}, "d: has instances still: shop_1.0_8001"),
        (
            "d",
            {"d": {**WELL, "services": ["postgres"]}},
            "services that are no apps: postgres. To allow it, say services",
        ),
        ("d", {"d": {**WELL, "boot": processes.boot()}}, "d: it runs the Salt master"),
    ],
)
@pytest.mark.parametrize("test", [True, False])
def test_what_clients_would_miss_is_refused(here, nodes, answers, why, test):
    here.answers.update({node: [answer] for node, answer in answers.items()})
    with pytest.raises(Refused, match=why.replace("?", r"\?")):
        here.reboot(nodes, test=test)
    assert not here.rebooting


def test_a_dry_run_reboots_nothing_and_services_may_be_missed(here):
    here.answers["d"] = [{**WELL, "services": ["postgres"]}]
    assert here.reboot("d", services=True, test=True)["plan"] == ["reboot d"] and not here.rebooting
    assert here.reboot("d", services=True)["retcode"] == DONE


def test_what_must_not_be_rebooted_is_left_out_and_what_is_out_of_use_comes_first(here):
    here.answers["c"] = [{**WELL, "services": ["postgres"]}]
    result = here.zones()
    # c is in use.
    assert [zone["nodes"] for zone in result["zones"]] == [["a"], ["b"], ["d"]]
    assert [warning.partition(" ")[0] for warning in result["warnings"]] == ["l", "c", "m"]
    here.away = {"d": ""}
    assert [zone["nodes"] for zone in here.zones(services=True)["zones"]] == [["d"], ["a"], ["b"], ["c"]]
    assert [zone["nodes"] for zone in here.zones("l,a")["zones"]] == [["l"], ["a"]]
    for nodes, why in (("m", "m: it runs the Salt master"), ("c", "c: clients would miss"), ("x", "e has no node 'x'")):
        with pytest.raises(Refused, match=why):
            here.zones(nodes)
    here.answers["d"] = ["does not answer"]
    with pytest.raises(Refused, match="d: does not answer"):
        here.zones()


@pytest.mark.parametrize("servers", [1, 2])
def test_a_consul_without_a_third_server_cannot_lose_one(here, servers):
    here.environment = environment(**{f"s{i}": ("", *SERVER) for i in range(servers)}, d=("", "app"))
    here.answers = {node: [WELL] for node in here.environment.nodes}
    result = here.zones()
    assert [zone["nodes"] for zone in result["zones"]] == [["d"]]
    assert f"s0 is left out: Consul has only {servers} servers" in result["warnings"][0]


def test_a_lost_answer_is_no_lost_machine(here):
    here.lost["d"] = "does not answer"
    assert here.reboot("a,d")["retcode"] == DONE
    here.asked.clear()
    here.lost["d"], here.answers["d"] = "there is no reboot", [WELL, WELL]
    verdict = here.reboot("d", timeout=0.05)["verdict"]
    assert "look now: d: it has not gone down (there is no reboot)" in verdict


def test_an_interrupt_stops_what_has_not_begun_and_no_longer_waits(here, monkeypatch):
    def look(fleet, nodes):
        os.kill(os.getpid(), signal.SIGINT)
        return real(fleet, nodes)

    real = reboot._look
    monkeypatch.setattr(reboot, "_look", look)
    with pytest.raises(KeyboardInterrupt):
        here.reboot("d")
    assert not here.rebooting
    monkeypatch.setattr(
        reboot, "_look", lambda fleet, nodes: look(fleet, nodes) if here.rebooting else real(fleet, nodes)
    )
    here.answers["d"] = [WELL, "does not answer"]
    result = here.reboot("d", timeout=60)
    assert result["retcode"] == NOT_REVERTED
    assert "d: nobody waited for it, because of an interrupt: does not answer" in result["verdict"]


def test_two_runs_reboot_nothing_at_once(here):
    key = "deploy/e/lock"
    here.catalog.values[key], here.catalog.holders[key] = {"owner": "ann@salt"}, "another"
    with pytest.raises(Refused, match="ann@salt"):
        here.reboot("d")
    assert not here.rebooting
