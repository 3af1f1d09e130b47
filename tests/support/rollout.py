"""A deployment on a fleet that is simulated job by job, with a fault in any of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

from saltdeploy.core import bluegreen
from saltdeploy.core.environment import Environment
from saltdeploy.core.errors import Failed, LockLost
from saltdeploy.core.instanceids import instance_id, slot_of, version_of
from saltdeploy.core.model import NORMAL_WEIGHT, PortRange
from saltdeploy.discovery import Endpoint, wording
from saltdeploy.master.remote.fleet import Reply
from saltdeploy.master.remote.jobs import PhaseFailed
from saltdeploy.master.rollout import executor
from saltdeploy.master.rollout.context import Context, Identity
from saltdeploy.planning.planner import plan

from tests.support.fleet import NEW, OLD, Desired, instance, make_app, observe

# The time, for what waits for discovery: it goes by only while there is something to wait for.
NOW = [0.0]

ONE, RANGE = PortRange(100, 100), PortRange(100, 105)


class Fleet:
    """Stands for jobs.Jobs, discovery and lock at once: jobs change instances, and some of them fail.

    :param faults: numbers of the jobs, counted from 0, that fail on their last node after they did the others.
    :param interrupts: those that end with Ctrl-C, all done.
    :param late: one that is interrupted before any node has begun it: they do so only ``delay`` jobs later.
    :param dies: one after which the first instance of the new release that is published is not healthy any more.
    """

    wording = wording.CONSUL

    def __init__(self, instances, faults=(), interrupts=(), lost=(), late=None, delay=0, dies=None):
        self.instances = {(i.node, i.id): i.published for i in instances}
        self.weights = {(i.node, i.id): i.weight for i in instances}
        self.faults, self.interrupts, self.lost = faults, interrupts, lost
        self.fewest, self.ran, self.record, self.journal = len(self.instances), [], None, self
        self.begin = self.add = self.warn = self.say = lambda *args: None
        self.fleet = SimpleNamespace(run=lambda name, nodes, *_, deadline: {node: Reply(node, {}) for node in nodes})
        self.held, self.restarted = [], []
        # How often each instance was registered again, and not back.
        self.again = Counter()
        # Which instances took in other files by a reload, and not back.
        self.reloaded = Counter()
        self.dies, self.dead, self.retired_after = dies, set(), []
        self.late, self.delay, self.on_its_way, self.ended, self.refused = late, delay, None, set(), []

    # -- jobs.Jobs

    def run(self, phase, function, nodes, *args, told, deployment=None, after=None, weight=None, **kwargs):
        if not nodes:
            return {}
        number, replies = len(self.ran), {}
        self.ran.append((phase, sorted(nodes)))
        if number == self.late and not after:
            self.on_its_way = phase, nodes, deployment, weight
            raise KeyboardInterrupt
        self.held += [kwargs["held"]] if phase == "withdraw" else []
        self.options = kwargs
        fails = sorted(nodes)[-1] if number in self.faults else None
        for node in sorted(nodes):
            if node != fails:
                replies[node] = self._do(phase, node, nodes, deployment, after, weight)
            self.fewest = min(self.fewest, sum(self.instances.values()))
        if self.late is not None and number == self.late + self.delay:
            self.arrive()
        if number == self.dies:
            self.dead = set(
                sorted(key for key, seen in self.instances.items() if seen and version_of(key[1]) == NEW)[:1]
            )
        if number in self.interrupts:
            raise KeyboardInterrupt
        if fails:
            raise PhaseFailed(phase, {fails: "fault"}, replies)
        return replies

    def arrive(self):
        """Have the nodes begin the job that is on its way still."""
        if self.on_its_way:
            (phase, nodes, deployment, weight), self.on_its_way = self.on_its_way, None
            for node in sorted(nodes):
                self._do(phase, node, nodes, deployment, None, weight)

    def _do(self, phase, node, nodes, deployment, after, weight):
        """Do a job on a node; not where the way back of its deployment has begun there."""
        if after:
            self.ended.add((node, after))
        elif (node, deployment) in self.ended:
            self.refused.append((phase, node))
            return None
        self.weight = weight
        return getattr(self, phase)(node, nodes, deployment)

    def attempt(self, *args, **kwargs):
        try:
            self.run(*args, **kwargs)
        except Failed as exc:
            return [str(exc)]
        return []

    def install(self, *_):
        pass

    def start(self, node, counts, _):
        taken = {slot_of(one) for at, one in self.instances if at == node}
        slot = next(s for s in range(100, 106) if s not in taken)
        self._add(node, instance_id("shop", NEW, slot), False)
        started = instance(node, NEW, slot, published=False, deployment="d")
        return {"instances": [started.__dict__], "failures": []}

    def weigh(self, node, ids, _):
        for one in ids[node]:
            assert self.instances[node, one], "weighed what is not published"
            self.weights[node, one] = ids[node][one]

    def register(self, node, ids, _):
        """A node goes back only where the deployment registered something again."""
        for one in ids[node]:
            assert self.instances[node, one], "registered what is not published"
            if self.options.get("back"):
                self.again[node, one] = 0
            elif not self.options.get("test"):
                self.again[node, one] += 1

    def reload(self, node, ids, _):
        """A node goes back only where the deployment changed files."""
        for one in ids[node]:
            assert self.instances[node, one], "reloaded what is not published"
            self.reloaded[node, one] = 0 if self.options.get("back") else 1

    def publish(self, node, ids, _):
        for one in ids[node]:
            self.instances[node, one] = True
            self.weights[node, one] = self.weight

    def withdraw(self, node, ids, _):
        for one in ids[node]:
            self.instances[node, one] = False

    def clean(self, node, ids, _):
        for one in ids[node]:
            del self.instances[node, one]

    def retire(self, node, ids, _):
        self.retired_after += sorted(self.dead)
        for one in ids[node]:
            assert one not in (self.record or {}).get("nodes", {}).get(node, ()), "highstate would bring it back"
            del self.instances[node, one], self.weights[node, one]

    def stop(self, node, _, deployment):
        assert deployment == "d"
        for at, one in list(self.instances):
            if at == node and version_of(one) == NEW:
                del self.instances[at, one]
                self.weights.pop((at, one), None)

    def restore(self, node, ids, _):
        for one in ids[node]:
            if (node, one) not in self.instances:
                self._add(node, one, True)
            if not self.instances[node, one]:
                self.restarted.append((node, one))
            self.instances[node, one] = True
            self.weights.setdefault((node, one), NORMAL_WEIGHT)

    def parts(self):
        """Return node, id, release and port of each instance."""
        return [(node, one, *one.split("_")[1:2], int(one.split("_")[2])) for node, one in self.instances]

    def _add(self, node, one, published):
        port = one.rsplit("_")[-1]
        assert not [i for at, i in self.instances if at == node and i.endswith(f"_{port}")], "the port is taken"
        self.instances[node, one] = published

    # -- discovery, and the lock

    def wait(self, name, until, deadline, passing=False):
        public = name == "shop"
        found = [(n, i if public else f"{i}_candidate") for (n, i), seen in self.instances.items() if seen == public]
        statuses = dict.fromkeys(self.dead, "critical")
        seen = until([Endpoint(i, name, n, "127.0.0.1", 100, status=statuses.get((n, i), "passing")) for n, i in found])
        NOW[0] = NOW[0] if seen else max(NOW[0], deadline)
        return seen

    def check(self):
        if len(self.ran) in self.lost:
            raise LockLost("the lock was lost")

    def write(self, values):
        self.check()
        [self.record] = values.values()


class Case:
    """A Deployment that is about to be made: its Context, the record before it, and its plan."""

    def __init__(self, fleet, app, desired, there, nodes, identity="d"):
        environment = Environment("e", {}, {"shop": app})
        self.context = Context(
            fleet, fleet, environment, desired, nodes, nodes, fleet, Identity(identity, "me"), serving=there
        )
        self.before = fleet.record

    def change(self, **changes):
        self.context = replace(self.context, **changes)

    def make(self, plan):
        self.made = executor.Deployment(self.context, self.before, plan)
        return self.made

    def run(self, plan):
        self.make(plan).run()


def deployment(fleet, nodes, waves, replacing, ports=None, max_failures=0, old=OLD):
    """Return the Case of the new release on all ``nodes``, each of which has an old instance; and its plan."""
    app = make_app(ports or (ONE if replacing == "recreate" else RANGE), waves, replacing)
    app = replace(app, strategy=replace(app.strategy, max_failures=max_failures))
    there = [instance(n, old) for n in nodes]
    desired = Desired(app, NEW, len(nodes), tuple(nodes))
    fleet.record = {"version": old, "nodes": {i.node: [i.id] for i in there}}
    return Case(fleet, app, desired, there, nodes), plan(desired, observe(*there))


def canary_deployment(fleet, canary, going_on):
    """Return the Case of a deployment that pauses with a share of the traffic, or goes on from there; its plan, and its record."""
    app = make_app(RANGE)
    app = replace(app, strategy=replace(app.strategy, canary_weight=canary, pause=1.0))
    there = [
        instance(node, version, slot, weight=fleet.weights[node, one]) for node, one, version, slot in fleet.parts()
    ]
    desired = Desired(app, NEW, 3, tuple("abc"), pause=not going_on, adopt=going_on)
    fleet.record = {"version": OLD, "nodes": {i.node: [i.id] for i in there}}
    return Case(fleet, app, desired, there, "abc"), plan(desired, observe(*there))


def flipped(fleet, nodes):
    """Deploy blue-green, and return what takes it back: the Case of the old release, and its plan."""
    run, made = deployment(fleet, nodes, ("100%",), "blue_green")
    run.run(made)
    there = [instance(n, i.split("_")[1], int(i[-3:]), published=seen) for (n, i), seen in fleet.instances.items()]
    desired = Desired(run.context.app, OLD, len(nodes), tuple(nodes))
    observed = replace(observe(*there), warm=bluegreen.still(fleet.record, time.time()))
    serving = [i for i in there if i.published]
    back = Case(fleet, run.context.app, desired, serving, nodes, identity="back")
    fleet.ran.clear()
    return back, plan(desired, observed)
