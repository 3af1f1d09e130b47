"""What one node never does with its instances, whatever state they are in and however late the catalog is."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from saltdeploy.core.errors import DiscoveryUnavailable, Failed, Refused
from saltdeploy.core.model import Stop
from saltdeploy.discovery import Endpoint, wording
from saltdeploy.node import restoration, retirement
from saltdeploy.node.lifecycle import Lifecycle
from saltdeploy.node.settings import Store

from tests.support.fleet import instance

SLOTS = range(100, 104)
# Where the nodes write: removed at the end.
FOLDER = tempfile.TemporaryDirectory()
PILLAR = {
    "apps": {"shop": {"source": {"pip": "shop"}, "run": "shop", "user": "root", "ports": "100-109"}},
    "environments": {"e": {"nodes": {"a": {"address": "127.0.0.1"}}, "apps": {"shop": {"version": "1.0"}}}},
}


class Node:
    """Stands for a node's host with all its parts, its runtime and its discovery at once.

    :param late: how often the catalog is read before it has what the agent was told; None: it never has.
    """

    wording = wording.CONSUL

    def __init__(self, instances, late):
        self.node, self.late, self.here = "a", late, {i.id: i for i in instances}
        self.agent = {i.id: self._endpoint(i.id) for i in instances if i.published}
        self.catalog = dict(self.agent)
        self.instances = self.releases = self.turns = self.data = self
        self.settings, self.key = Store(Path(FOLDER.name)), b"its own"

    @staticmethod
    def _endpoint(one, name="shop"):
        return Endpoint(one, name, "a", "127.0.0.1", 100, meta={"app": "shop", "minion": "a"})

    # -- the instances on the host

    def recorded(self, app=None):
        return list(self.here.values())

    def strays(self, app=None):
        return []

    def save(self, one):
        self.here[one.id] = one

    def forget(self, *ids):
        for one in ids:
            self.here.pop(one, None)

    def folder(self, one):
        folder = Path(FOLDER.name, one)
        folder.mkdir(exist_ok=True)
        return folder

    def connections(self, one):
        return 0

    def ports_taken(self, address):
        return []

    # -- the rest of the host

    def broken(self, app=None):
        """Return the broken instances, or the broken releases."""
        return {}

    def versions(self, app):
        return ["1.0"]

    @contextlib.contextmanager
    def alone(self, app, deployment=None, after=None, patience=0):
        yield

    def refuse_overtaken(self, app, deployment):
        pass

    def has_any(self, app):
        return False

    # -- the runtime

    lacks = ()

    def states(self):
        return {i.id: SimpleNamespace(running=i.running) for i in self.here.values()}

    def stop_of(self, one):
        return Stop()

    def processes(self, one):
        return []

    def stop(self, one, address="", port=None):
        assert one not in self.catalog, "stopped while users may still be sent to it"
        if one in self.here:
            self.here[one] = replace(self.here[one], running=False)

    # -- discovery

    def registered(self):
        return dict(self.agent)

    def publish(self, service):
        one = self.here[service.id.removesuffix("_candidate")]
        assert service.name == "shop-candidate" or (one.tested and one.running), "published untested"
        self.agent[service.id] = self._endpoint(service.id, service.name)

    def read(self, key):
        return None, 0, None

    def unmeasured(self, ids):
        return []

    def withdraw(self, one):
        self.agent.pop(one, None)

    def wait(self, name, until, deadline):
        for _ in range(100 if self.late is None else self.late):
            if until(list(self.catalog.values())):
                return True
        if self.late is not None:
            self.catalog = {i: e for i, e in self.agent.items() if e.name == "shop"}
        return until(list(self.catalog.values()))


FLAGS = st.fixed_dictionaries({name: st.booleans() for name in ("running", "tested", "published")}).filter(
    # The second property sees to that.
    lambda flags: flags["tested"] or not flags["published"]
)
NODES = st.builds(
    Node,
    st.lists(st.tuples(st.sampled_from(SLOTS), FLAGS), max_size=4, unique_by=lambda spot: spot[0]).map(
        lambda spots: [instance("a", slot=slot, **flags) for slot, flags in spots]
    ),
    st.sampled_from([0, 1, 3, None]),
)


def lifecycle(node):
    made = Lifecycle("a", PILLAR, {}, None, None)
    made.host = made._runtime = made._discovery = made._ending = node
    return made


@given(NODES, st.sets(st.sampled_from(SLOTS)))
def test_nothing_stops_that_users_may_still_be_sent_to(node, slots):
    """…even where the catalog never follows; then it says so, and all runs on."""
    ids = [i.id for i in node.recorded() if i.slot in slots]
    before = dict(node.here)
    try:
        stopped = retirement.stop(lifecycle(node), "shop", ids, drain=0, deregister_delay=0)
    except DiscoveryUnavailable:
        event("the catalog never followed")
        assert node.late is None
        assert node.here == before
        # By now the agent has forgotten them, and who tries once more knows no better.
        with pytest.raises(DiscoveryUnavailable):
            retirement.stop(lifecycle(node), "shop", ids, drain=0, deregister_delay=0)
        assert node.here == before
    else:
        assert stopped == sorted(ids)
        assert set(node.here) == set(before) - set(ids)
        assert not set(ids) & set(node.agent)


@given(NODES)
def test_what_only_discovery_has_lost_is_published_and_runs_on(node):
    """…so its clients notice nothing when it is restored."""
    good = [i.id for i in node.recorded() if i.tested and i.running]
    before = dict(node.here)
    node.agent.clear()
    node.catalog.clear()

    def stop(one, address, port):
        raise AssertionError(f"{one} was stopped")

    node.stop = stop
    assert restoration.restore(lifecycle(node), "shop", good) == good
    assert set(node.agent) == set(good) and set(node.here) == set(before)
    assert all(node.here[one].running for one in good)


@given(NODES, st.sets(st.sampled_from(SLOTS)))
def test_only_what_runs_and_has_passed_its_tests_is_published(node, slots):
    """…and where one of several may not be, none is."""
    ids = [i.id for i in node.recorded() if i.slot in slots]
    may = all(node.here[one].tested and node.here[one].running for one in ids)
    before = set(node.agent)
    try:
        # If retirement is a copy, this is the publication that the copy has: see tests.support.mutants.
        retirement.publication.publish(lifecycle(node), "shop", ids)
    except Refused:
        assert not may
        assert set(node.agent) == before
    else:
        assert may
        assert set(node.agent) == before | set(ids)


def test_instances_of_another_app_are_not_stopped():
    node = Node([instance("a")], 0)
    with pytest.raises(
        Refused, match="no instance of shop: till_1.0_100. See its instances: salt a app.instances shop"
    ):
        retirement.stop(lifecycle(node), "shop", ["shop_1.0_100", "till_1.0_100"], drain=0)
    assert list(node.agent) == ["shop_1.0_100"]


def test_an_instance_that_cannot_be_forgotten_keeps_no_other_from_being_so():
    class Stubborn(Node):
        def forget(self, *ids):
            if "shop_1.0_100" in ids:
                raise Failed("its unit stays")
            super().forget(*ids)

    node = Stubborn([instance("a"), instance("a", slot=101)], 0)
    with pytest.raises(Failed, match="its unit stays"):
        retirement.stop(lifecycle(node), "shop", None, drain=0)
    assert list(node.here) == ["shop_1.0_100"]
