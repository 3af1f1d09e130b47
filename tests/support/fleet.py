"""Fleets for the planner: made by hand, and simulated, so that a plan can be run in small steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from saltdeploy.core.instanceids import instance_id
from saltdeploy.core.model import NORMAL_WEIGHT, App, Instance, PortRange, Source, Strategy
from saltdeploy.planning.model import Desired, Observed

OLD, NEW = "1.0", "2.0"
THREE = ("web1", "web2", "web3")


def make_app(ports=PortRange(100, 109), waves=(1, "100%"), type="rolling"):
    return App("shop", Source("pip", "shop"), "run", ports=ports, strategy=Strategy(type=type, waves=waves))


def instance(node, version=OLD, slot=100, **flags):
    """Return an instance that serves, unless ``flags`` say otherwise."""
    flags = {"running": True, "tested": True, "published": True, **flags}
    return Instance(instance_id("shop", version, slot), node, "shop", version, slot, "127.0.0.1", slot, **flags)


def held(node, slot=105):
    """Return a candidate of the new release that waits for publication."""
    return instance(node, NEW, slot, published=False, held=True)


def observe(*instances, taken=None, releases=None, zones=None, **facts):
    ports = {}
    for i in instances:
        ports[i.node] = ports.get(i.node, frozenset()) | {i.port}
    for node, more in (taken or {}).items():
        ports[node] = ports.get(node, frozenset()) | frozenset(more)
    installed = {n: tuple(v) for n, v in (releases or {}).items()}
    return Observed(tuple(instances), ports, installed, zones or {}, **facts)


def desire(instances=3, nodes=THREE, version=NEW, ports=PortRange(100, 109), waves=(1, "100%"), **options):
    return Desired(make_app(ports, waves), version, instances, nodes, **options)


def in_place(instances=3, nodes=THREE, waves=(1, "100%"), **options):
    """Return what is desired of an app with one port, whose old instances go first."""
    return Desired(make_app(PortRange(100, 100), waves, "recreate"), NEW, instances, nodes, **options)


class World:
    """Nodes with instances, which does what a plan says in the small steps the real ones take."""

    def __init__(self, app, instances, foreign, releases, zones):
        self.app, self.foreign, self.zones = app, foreign, zones
        self.instances = {(i.node, i.id): i for i in instances}
        self.releases, self.warm = dict(releases), set()

    def observed(self):
        there = sorted(self.instances.values(), key=lambda i: (i.node, i.id))
        seen = observe(*there, taken=self.foreign, releases=self.releases, zones=self.zones)
        return replace(seen, warm=frozenset(self.warm))

    def there(self):
        return list(self.instances.values())

    def serving(self):
        """Return how many serve users as they should: none that discovery has as unhealthy."""
        return sum(i.running and i.published and i.healthy for i in self.instances.values())

    def is_warm(self):
        """Return what is warm: node and id of each."""
        return {k for k in self.warm & set(self.instances) if not self.instances[k].published}

    def counts(self):
        """Return how many instances there are of each release and kind; what is warm is not counted."""
        there = [i for key, i in self.instances.items() if key not in self.is_warm()]
        return Counter((i.version, i.running, i.tested, i.published) for i in there)

    def steps(self, made, version):
        """Execute ``made``; yield after every step."""
        for node, ids in made.clean.items():
            for one in ids:
                stopped = self.instances.pop((node, one))
                self.warm.discard((node, one))
                assert not (stopped.running and stopped.published), "cleaned what serves"
                yield
        for node in made.install:
            self.releases[node] = {*self.releases.get(node, ()), version}
            yield
        for node, weights in made.weigh.items():
            for one, weight in weights.items():
                assert self.instances[node, one].good, "weighed what does not serve"
                self.instances[node, one] = replace(self.instances[node, one], weight=weight)
                yield
        for again in made.register:
            for node, ids in again.items():
                for one in ids:
                    assert self.instances[node, one].good, "registered what does not serve"
                    self.instances[node, one] = replace(self.instances[node, one], outdated="")
                    yield
        for again in made.reload:
            for node, ids in again.items():
                for one in ids:
                    assert self.instances[node, one].good, "reloaded what does not serve"
                    self.instances[node, one] = replace(self.instances[node, one], stale="")
                    yield
        for wave in made.waves:
            yield from self._wave(wave, version, made.publish, made.canary.new if made.canary else NORMAL_WEIGHT)

    def _wave(self, wave, version, publish, weight):
        yield from self._retire(wave.replace)
        assert not wave.replace or self.serving() == wave.meanwhile, "others serve than the plan says"
        candidates = [(i.node, i.id) for adopted in wave.adopt.values() for i in adopted]
        for node, count in wave.start.items():
            for _ in range(count):
                candidates.append(self._start(node, version, held=not publish))
                yield
        for key in candidates:
            self.instances[key] = replace(self.instances[key], tested=True)
            yield
        for key in candidates if publish else ():
            assert self.instances[key].tested, "published what is not tested"
            self.instances[key] = replace(self.instances[key], published=True, held=False, weight=weight)
            yield
        yield from self._withdraw(wave.withdraw)
        yield from self._retire(wave.retire)

    def _withdraw(self, by_node):
        """The record has it first."""
        keys = [(node, one) for node, ids in by_node.items() for one in ids]
        self.warm |= set(keys)
        yield
        for key in keys:
            self.instances[key] = replace(self.instances[key], published=False)
            yield

    def _retire(self, by_node):
        """All are withdrawn before any is stopped: so many are out at once."""
        keys = [(node, one) for node, ids in by_node.items() for one in ids]
        for key in keys:
            self.instances[key] = replace(self.instances[key], published=False)
            yield
        for key in keys:
            assert not self.instances[key].published, "stopped before it was withdrawn"
            del self.instances[key]
            yield

    def _start(self, node, version, held):
        assert version in self.releases.get(node, ()), "started what is not installed"
        here = [i for i in self.instances.values() if i.node == node]
        taken = {i.slot for i in here} | set(self.foreign.get(node, ()))
        slots = self.app.ports or range(len(taken) + 1)
        slot = next((s for s in slots if s not in taken), None)
        assert slot is not None, f"no free port on {node}"
        made = instance(node, version, slot, tested=False, published=False, held=held)
        assert (node, made.id) not in self.instances
        self.instances[node, made.id] = made
        return node, made.id
