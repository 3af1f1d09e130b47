"""The executor's way back, on a fleet that is simulated job by job, with a fault in any of them."""

from types import SimpleNamespace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from saltdeploy import executor
from saltdeploy.errors import Failed, LockLost
from saltdeploy.model import Environment, PortRange, instance_id
from saltdeploy.planner import plan

from tests.support.fleet import NEW, OLD, Desired, instance, make_app, observe

ONE, RANGE = PortRange(100, 100), PortRange(100, 105)


class Fleet:
    """Stands for jobs.Jobs, discovery and lock at once: jobs change instances, and some of them fail.

    :param faults: numbers of the jobs, counted from 0, that fail on their last node after they did the others.
    :param interrupts: those that end with Ctrl-C, all done.
    """

    def __init__(self, instances, faults=(), interrupts=(), lost=()):
        self.instances = {(i.node, i.id): i.published for i in instances}
        self.faults, self.interrupts, self.lost = faults, interrupts, lost
        self.fewest, self.ran, self.record, self.journal = len(self.instances), [], None, self
        self.begin = self.add = lambda *args: None

    # -- jobs.Jobs

    def run(self, phase, function, nodes, *args, told, count=None, deployment=None, **kwargs):
        if not nodes:
            return {}
        number, replies = len(self.ran), {}
        self.ran.append((phase, sorted(nodes)))
        fails = sorted(nodes)[-1] if number in self.faults else None
        for node in sorted(nodes):
            if node != fails:
                replies[node] = getattr(self, phase)(node, nodes, deployment)
            self.fewest = min(self.fewest, sum(self.instances.values()))
        if number in self.interrupts:
            raise KeyboardInterrupt
        if fails:
            raise Failed(f"{phase} on {fails}: fault")
        return replies

    def attempt(self, *args, **kwargs):
        try:
            self.run(*args, **kwargs)
        except Failed as exc:
            return [str(exc)]
        return []

    def install(self, *_):
        pass

    def start(self, node, counts, _):
        taken = {one.rsplit("_")[-1] for at, one in self.instances if at == node}
        slot = next(s for s in range(100, 106) if str(s) not in taken)
        self._add(node, instance_id("shop", NEW, slot), False)
        started = instance(node, NEW, slot, published=False, deployment="d")
        return {"instances": [started.__dict__], "failures": []}

    def publish(self, node, ids, _):
        for one in ids[node]:
            self.instances[node, one] = True

    def retire(self, node, ids, _):
        for one in ids[node]:
            assert one not in (self.record or {}).get("nodes", {}).get(node, ()), "highstate would bring it back"
            del self.instances[node, one]

    def stop(self, node, _, deployment):
        assert deployment == "d"
        for at, one in list(self.instances):
            if at == node and f"_{NEW}_" in one:
                del self.instances[at, one]

    def restore(self, node, ids, _):
        for one in ids[node]:
            if (node, one) not in self.instances:
                self._add(node, one, True)
            self.instances[node, one] = True

    def _add(self, node, one, published):
        port = one.rsplit("_")[-1]
        assert not [i for at, i in self.instances if at == node and i.endswith(f"_{port}")], "the port is taken"
        self.instances[node, one] = published

    # -- discovery, and the lock

    def wait(self, name, until, deadline, passing):
        return until([SimpleNamespace(minion=n, id=i) for (n, i), published in self.instances.items() if published])

    def check(self):
        if len(self.ran) in self.lost:
            raise LockLost("the lock was lost")

    def write(self, values):
        self.check()
        [self.record] = values.values()


def deployment(fleet, nodes, waves, replace, ports=None):
    """Return a Deployment of the new release on all ``nodes``, each of which has an old instance; and its plan."""
    app = make_app(ports or (ONE if replace == "in_place" else RANGE), waves, replace)
    there = [instance(n) for n in nodes]
    desired = Desired(app, NEW, len(nodes), tuple(nodes))
    environment = Environment("e", {}, {"shop": app})
    before = fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    identity = executor.Identity("d", "me")
    made = executor.Deployment(fleet, fleet, environment, desired, nodes, nodes, before, fleet, identity, there)
    return made, plan(desired, observe(*there))


def no_hold(strategy):
    return SimpleNamespace(**{**strategy.__dict__, "min_healthy": 0})


WAVES = st.sampled_from([(1, "100%"), ("100%",), (1, 2, "100%")])


@given(st.integers(1, 5), WAVES, st.sampled_from(["beside", "in_place"]), st.integers(0, 25), st.booleans())
def test_whatever_fails_all_is_as_before_and_enough_served_all_the_time(count, waves, replace, number, interrupted):
    nodes = list("abcde"[:count])
    fault = {"interrupts" if interrupted else "faults": [number]}
    fleet = Fleet([instance(n) for n in nodes], **fault)
    run, made = deployment(fleet, nodes, waves, replace)
    run.strategy = no_hold(run.strategy)
    before, record = dict(fleet.instances), fleet.record
    try:
        run.run(made)
    except executor.NotReverted:
        raise
    except Failed:
        event(f"failed in {fleet.ran[number][0]}")
        assert (fleet.instances, fleet.record) == (before, record)
    else:
        event("succeeded")
        assert all(f"_{NEW}_" in one and published for (_, one), published in fleet.instances.items())
    assert fleet.fewest >= (count if replace == "beside" else (count + 1) // 2 if count > 1 else 0)


def test_in_place_the_last_node_is_changed_back_first_the_new_one_before_the_old():
    nodes = ["a", "b", "c"]
    fleet = Fleet([instance(n) for n in nodes], faults=[8])  # after install, and retire, start, publish twice
    run, made = deployment(fleet, nodes, ("100%",), "in_place")
    run.strategy = no_hold(run.strategy)
    with pytest.raises(Failed, match="start on c: fault"):
        run.run(made)
    assert fleet.ran[8:] == [
        ("start", ["c"]),
        *[(phase, [node]) for node in "cba" for phase in ("stop", "restore")],
    ]


def test_in_place_what_cannot_be_changed_back_stops_the_way_back():
    nodes = ["a", "b", "c"]
    fleet = Fleet([instance(n) for n in nodes], faults=[5, 7])
    run, made = deployment(fleet, nodes, ("100%",), "in_place")
    run.strategy = no_hold(run.strategy)
    with pytest.raises(executor.NotReverted, match="restore on b: fault; the other nodes stay as they are, to serve"):
        run.run(made)
    assert fleet.instances == {("a", "shop_2.0_100"): True, ("c", "shop_1.0_100"): True}
    # Highstate brings the old one back once it can be.
    assert fleet.record["nodes"] == {"a": ["shop_2.0_100"], "b": ["shop_1.0_100"], "c": ["shop_1.0_100"]}


def test_without_the_lock_nothing_is_changed_back():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes], lost=[3])
    run, made = deployment(fleet, nodes, ("100%",), "in_place")
    with pytest.raises(executor.NotReverted, match="the lock was lost"):
        run.run(made)
    assert [phase for phase, _ in fleet.ran] == ["install", "retire", "start"]


def test_without_the_lock_the_way_back_ends():
    nodes = ["a", "b"]
    fleet = Fleet([instance(n) for n in nodes], faults=[5], lost=[8])
    run, made = deployment(fleet, nodes, ("100%",), "in_place")
    run.strategy = no_hold(run.strategy)
    with pytest.raises(executor.NotReverted, match="the lock was lost; after: start on b: fault"):
        run.run(made)
    assert fleet.ran[6:] == [("stop", ["b"]), ("restore", ["b"])]
