"""What one node does with the instances of an app: start, test, publish, stop, restore.

Every wait here has a deadline, so that a job on a node always ends.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from . import balancer, definition, discovery, locks, names, nodefiles, probes, readiness, records, services, shapes
from .ending import Ending
from .errors import DiscoveryUnavailable, Failed, Refused
from .host import Host
from .launch import Launch
from .model import App, Instance, parts_of, slot_of
from .readiness import POLL, Readiness
from .runtime import choose
from .services import CANDIDATE
from .turns import RESTORED

# How long the catalog may take to show what the agent was told, in seconds: an election takes up to 13.5, and an agent
# that could tell no server tries again after 15 to 30 (Consul's agent/ae/ae.go).
CATALOG_DEADLINE = 60.0
# How much of what an instance printed is told with a failure: lines, and bytes.
LOG_LINES, LOG_BYTES = 15, 4000
# How many instances are stopped at once.
STOPPED_AT_ONCE = 32


class Lifecycle:
    """The instances of this node's environment.

    :param node: the minion's id.
    :param pillar: its pillar: ``apps`` and its own environment.
    :param settings: the minion's ``saltdeploy`` configuration: root, runtime, supervisord.
    :param fetch: ``fetch(url, path)`` brings a ``salt://`` file.
    :param render: ``render(url, path, context)`` renders a ``salt://`` template into a file.
    :raises Refused: this minion is a node of no environment.
    """

    def __init__(self, node, pillar, settings, fetch, render):
        self.host = Host(node, **({"root": settings["root"]} if "root" in settings else {}))
        self.environment = definition.load_own(node, pillar, self.host.mistakes.find)
        self.node = self.environment.nodes[node]
        self.settings, self.fetch, self.render = settings, fetch, render
        self._runtime = self._discovery = self._ending = None
        # What somebody should know of what was done, in sentences.
        self.warnings = []

    @property
    def runtime(self):
        self._runtime = self._runtime or choose(self.settings)
        return self._runtime

    @property
    def discovery(self):
        self._discovery = self._discovery or discovery.connect(self.environment.discovery, self.node.address)
        return self._discovery

    @property
    def ending(self):
        self._ending = self._ending or Ending(self.host, self.runtime)
        return self._ending

    def app(self, name):
        """Return the definition of app ``name``; Refused if this environment has none."""
        return definition.find_app(self.environment, name)

    def known_by_name(self, name):
        """Return app ``name``, without settings where its definition is wrong; Refused if this environment has none."""
        return definition.known_by_name(self.environment, name)

    # -- seeing -------------------------------------------------------------------------------

    def observe(self, name):
        """Return all a planner must know of app ``name`` on this node, as plain data."""
        app, broken = self._known(name), self.host.instances.broken(name)
        return {
            "instances": [i.__dict__ for i in self._there(name)],
            "releases": self.host.releases.versions(name),
            "ports_taken": sorted(self.host.instances.ports_taken(self.node.address)),
            "data": str(self.host.data.path(app)) if self.host.data.has_any(app) else "",
            "slots": self._slots(name),
            "warnings": self._shortcomings(app, broken),
        }

    def _known(self, name):
        """Return app ``name``, without settings where nobody defines it, or wrongly: it can be stopped all the same."""
        if name in self.environment.names:
            return self.known_by_name(name)
        return App(names.app(name), None, "")

    def _slots(self, name):
        """Return how many instances of app ``name`` HAProxy here has slots for; None where no load balancer is."""
        if balancer.ROLE not in self.node.roles:
            return None
        try:
            return balancer.slots_in(Path(balancer.HAPROXY).read_text(), name)
        except OSError:
            return 0

    def _units(self, name):
        """Return the ids of the instances of app ``name`` that the supervisor has."""
        return {i for i in self.runtime.states() if shapes.is_of(i, name)}

    def _shortcomings(self, app, broken):
        """Return what is not as it should be on this node, in sentences."""
        ignored = [f"resources:{key}" for key in self.runtime.lacks if getattr(app, key)]
        found = [f"{i} is broken: {why} deploy.app {app.name} replaces it." for i, why in broken.items()]
        found += [f"{app.name} {v} is broken: {why}" for v, why in self.host.releases.broken(app.name).items()]
        if ignored:
            found.append(f"{self.runtime.name} does not enforce apps:{app.name}:{' and '.join(ignored)}.")
        return found

    def instances(self, name=None):
        """Return the instances on this node as plain data, with the supervisor's word on each."""
        states = self.runtime.states()
        chosen = [name] if name else sorted({*self.environment.apps, *(i.app for i in self.host.instances.recorded())})
        return {
            i.id: {**i.__dict__, "state": states[i.id].detail if i.id in states else "not started"}
            for app in chosen
            for i in self._there(app)
        }

    def _registered(self, name):
        """Return the services of app ``name`` that the agent has, and that are this environment's: id -> Endpoint.

        By their ids, whoever registered them. Another environment may have the same agent.
        """
        found = {i: e for i, e in self.discovery.registered().items() if shapes.is_of(i.removesuffix(CANDIDATE), name)}
        return {i: e for i, e in found.items() if e.meta.get("environment") in (None, self.environment.name)}

    def _there(self, name):
        """Return all instances of app ``name`` on this node, also those that only discovery or the supervisor knows."""
        registered, states = self._registered(name), self.runtime.states()
        known = {i.id: self._observed(i, registered, states) for i in self.host.instances.recorded(name)}
        ids = {*self.host.instances.strays(name), *states, *(i.removesuffix(CANDIDATE) for i in registered)}
        strays = (i for i in sorted(ids) if i not in known and shapes.is_of(i, name))
        return [*known.values(), *(self._stray(i, registered, states) for i in strays)]

    def _observed(self, instance, registered, states):
        public, state = registered.get(instance.id), states.get(instance.id)
        supervised = bool(state and state.running)
        # What a supervisor that was killed has left may serve on, and the new one cannot start its own beside it.
        serving = bool(public) and not supervised and self.host.instances.listens(instance)
        # That, and what listens elsewhere than the node is said to be, is replaced: no test would reach the right one.
        tested = instance.tested and instance.address == self.node.address and not serving
        seen = {"weight": public.weight} if public else {}
        return replace(instance, running=supervised or serving, published=bool(public), tested=tested, **seen)

    def _stray(self, one, registered, states):
        """Return the Instance of an id that no file here has. What is registered serves until it is seen not to.

        It is replaced like one that has not passed its tests: nobody knows what it was started from.
        """
        name, version, slot = parts_of(one)
        public, state = registered.get(one), states.get(one)
        seen = public or registered.get(one + CANDIDATE)
        port = (seen.port or None) if seen else slot if name in self.environment.apps and self.app(name).ports else None
        address = (seen and seen.address) or self.node.address
        made = Instance(one, self.host.node, name, version, slot, address, port, recorded=False)
        running = bool(state and state.running) or bool(public and self.host.instances.listens(made))
        return replace(made, running=running, published=bool(public), **({"weight": public.weight} if public else {}))

    # -- starting -----------------------------------------------------------------------------

    def install(self, name, version, digest=""):
        """Install a release; return whether anything was done.

        :param digest: the SHA-256 of the archive that it must be made of; empty: what the definition says.
        """
        return self.host.releases.install(self.app(name), version, self.fetch, names.digest(digest))

    def start(self, name, version, count, deployment, held=False, slots=None, tests=True):
        """Start ``count`` candidates of a release and run the tests that are from the node itself.

        :param held: keep them in discovery until they are published or stopped; else they leave it
            by themselves when the deployment's deadline is over.
        :param slots: the ports to take; None: any that are free.
        :param tests: False takes what is ready for tested.
        :returns: ``{"ok", "instances": [...], "failures": [...]}``
        """
        app = self.app(name) if tests else replace(self.app(name), tests=())
        if not self.host.releases.installed(app, version):
            raise Refused(f"{name} {version} is not installed on {self.host.node}: run app.install first.")
        return self._start(app, version, count, deployment, held, slots)

    def _start(self, app, version, count, deployment, held=False, slots=None):
        deadline = time.monotonic() + app.strategy.healthy_deadline
        started, failures = [], []
        with self.host.turns.starting(app.name, deployment):
            avoid = {i.slot for i in self._there(app.name) if i.running and not i.recorded}
            self.warnings += self.ending.sweep(app, self.node.address, self._spared(app.name))
            for slot in slots or [None] * count:
                instance = self.host.instances.allocate(app, version, self.node.address, deployment, slot, avoid)
                started.append(replace(instance, held=held))
            for instance in started:
                self.host.instances.save(instance)
                launch = self.launch(app, instance)
                launch.write(self.render)
                self.runtime.start(launch.unit)
        for instance in started:
            failures += self._prove(app, instance, deadline, deployment)
        return {"ok": not failures, "instances": [self._record(i).__dict__ for i in started], "failures": failures}

    def _spared(self, name):
        """Return the ids of instances of app ``name`` that the supervisor or discovery has: users may have them."""
        return {i.removesuffix(CANDIDATE) for i in self._registered(name)} | self._units(name)

    def _prove(self, app, instance, deadline, deployment=None):
        """Wait until the instance is ready, run its own tests, register it as a candidate.

        :param deployment: whose step this is: it may have ended meanwhile, as a suspended process does not know.
        """
        problem = self._await_ready(app, instance, deadline)
        problems = [problem] if problem else self._failed_tests(app, instance)
        if problems:
            # They are gone with the instance.
            logs = self.runtime.logs(self.launch(app, instance).unit, LOG_LINES, most=LOG_BYTES)
            problems[-1] += f"\nits last lines:\n{logs}" if logs else ""
            return [f"{instance.id}: {p}" for p in problems]
        expires = None if instance.held else app.strategy.progress_deadline
        with self.host.turns.starting(app.name, deployment):
            self.host.instances.save(replace(instance, tested=True))
            self.discovery.publish(services.of(app, instance, self.environment.name, candidate=True, expires=expires))
        return []

    def _await_ready(self, app, instance, deadline):
        """Return None once the process is up and passes its checks, else what is wrong with it."""
        values, key = self.launch(app, instance).values, records.current_key(self._prefix(app.name))

        def first():
            try:
                return self.discovery.read(key)[0] is None
            except DiscoveryUnavailable:
                return False

        return Readiness(app, instance, self.host, self.runtime.states, values, first).wait(deadline)

    def _prefix(self, name):
        return records.prefix(self.environment.name, names.app(name))

    def waiting(self, name):
        """Return what instances of app ``name`` wait for that are being started here: id -> text."""
        return readiness.notes(self.host, names.app(name))

    # -- testing ------------------------------------------------------------------------------

    def test(self, name, ids=None):
        """Run the tests from the node on its instances of app ``name``: ``{id: [result, …]}``."""
        app = self.app(name)
        return {i.id: self._test(app, i) for i in self.chosen(name, ids)}

    def test_others(self, name, targets):
        """Run the tests that are from a peer on instances elsewhere.

        :param targets: the instances, as plain data.
        """
        return probes.run_from("peer", self.environment, self.app(name), targets)

    def _failed_tests(self, app, instance):
        return [f"test `{r['test']}` failed: {r['detail']}" for r in self._test(app, instance) if not r["ok"]]

    def _test(self, app, instance):
        launch = self.launch(app, instance)
        return [probes.run(t, launch.values, launch.env, app.user) for t in app.tests if t.origin == "node"]

    # -- publishing ---------------------------------------------------------------------------

    def publish(self, name, ids=None, weight=None):
        """Put tested instances into discovery, out of the candidates; return their ids once all checks have run there.

        :param weight: what each has there; None: what it had.
        :raises Refused: one is not tested, or not running.
        """
        app, chosen, states = self.app(name), self.chosen(name, ids), self.runtime.states()
        for instance in chosen:
            if not instance.tested:
                raise Refused(f"{instance.id} on {self.host.node} has not passed its tests: it is not published.")
            if instance.id not in states or not states[instance.id].running:
                raise Refused(f"{instance.id} on {self.host.node} does not run: see app.logs; it is not published.")
        for instance in (replace(i, held=False, weight=weight or i.weight) for i in chosen):
            self.discovery.publish(services.of(app, instance, self.environment.name))
            self.discovery.withdraw(instance.id + CANDIDATE)
            self.host.instances.save(instance)
        ids = [i.id for i in chosen]
        self._await_results(app, ids)
        return ids

    def _await_results(self, app, ids):
        """Wait until each check of ``ids`` has a result of its own: until then discovery believes what it was told.

        It goes on after the time that the slowest check may take, also where the agent keeps no output of checks
        (``discard_check_output``).
        """
        deadline = time.monotonic() + services.first_result(app)
        while self.discovery.unmeasured(ids) and time.monotonic() < deadline:
            time.sleep(POLL)

    def withdraw(self, name, ids=None, held=True):
        """Take instances out of discovery; they run on, as candidates. Return their ids when the catalog has none."""
        app, chosen = self.app(name), self.chosen(name, ids)
        self._withdraw(name, [i.id for i in chosen])
        for instance in chosen:
            self.discovery.publish(services.of(app, instance, self.environment.name, candidate=True))
        # Last: a disk that cannot be written does not keep them in use.
        for instance in chosen:
            self.host.instances.save(replace(instance, held=held))
        return [i.id for i in chosen]

    def _withdraw(self, name, ids):
        """Take ``ids`` out of discovery; return those that users may have been sent to, once the catalog has none."""
        registered = self._registered(name)
        here = {i.id: i.tested for i in self.host.instances.recorded(name)}
        strays = {*self.host.instances.strays(name), *self.runtime.states()}
        for instance in ids:
            for service in (instance, instance + CANDIDATE):
                if service in registered:
                    self.discovery.withdraw(service)
        # Without a leader an agent forgets what it is told to, and the catalog does not follow: a second try must wait,
        # too. What has not passed its tests was never there.
        waited_for = [i for i in ids if i in registered or here.get(i, i in strays)]
        published = {i for i in ids if i in registered}
        # A registration may be from a time when this minion had another name, or from somebody else.
        places = {self.node.address, *(registered[i].address for i in published)}

        def gone(found):
            mine = (e for e in found if e.minion == self.host.node or e.address in places)
            seen = {e.id for e in mine if e.id in waited_for}
            published.update(seen)
            return not seen

        if waited_for and not self.discovery.wait(name, gone, time.monotonic() + CATALOG_DEADLINE):
            raise DiscoveryUnavailable(
                f"{', '.join(sorted(published))}: still in the catalog {CATALOG_DEADLINE:g}s after it was withdrawn on"
                f" {self.host.node}: nothing was stopped. See `consul monitor` there."
            )
        return sorted(published)

    # -- stopping -----------------------------------------------------------------------------

    def alone(self, name, deployment=None, after=None):
        """As Turns.alone: a step that undoes others waits for them, any other is not to find somebody there."""
        return self.host.turns.alone(name, deployment, after, self._patience(name) if after else locks.MOMENT)

    def _patience(self, name):
        """Return for how long a step waits for another one, in seconds: as long as it may take to retire instances."""
        app = self._known(name)
        return CATALOG_DEADLINE + app.strategy.drain + 2 * app.stop.timeout

    def stop(self, name, ids=None, deployment=None, drain=None, grace=None, after=None):
        """Retire instances: withdraw, see them gone from the catalog, drain, stop, forget.

        :param ids: which; also ids that only discovery knows.
        :param deployment: whose step this is (see Turns.alone); without ids, stop all that it started: it ends here.
        :param drain: most seconds to wait for open connections; None: the strategy's.
        :param grace: least seconds a published one serves on, for clients that still have its address.
        :param after: whose steps this undoes.
        """
        own, by = (deployment, None) if ids is None else (None, deployment)
        with self.host.turns.alone(names.app(name), by, after or own, self._patience(name)):
            return self._stop(name, ids, own, drain, grace)

    def retire(self, name, ids):
        """Stop instances as :meth:`stop` does, in a turn that the caller has."""
        return self._stop(name, ids)

    def _stop(self, name, ids=None, deployment=None, drain=None, grace=None):
        strategy = self._known(name).strategy
        drain = strategy.drain if drain is None else drain
        grace = strategy.grace if grace is None else grace
        here = {i.id: i for i in self._there(name)}
        if deployment is not None:
            ids = [i.id for i in here.values() if i.deployment == deployment]
        ids = sorted(here if ids is None else ids)
        others = [i for i in ids if i.split("_", 1)[0] != name]
        if others:
            raise Refused(
                f"no instance of {name}: {', '.join(others)}. See what is: salt {self.host.node} app.instances {name}"
            )
        published = self._withdraw(name, ids)
        # All of them: what another run has withdrawn a moment ago may still have clients.
        self._drain([here[i] for i in ids if i in here], drain, grace if published else 0)
        problems = self._end(name, ids, here)
        # One that was still being tested may have become a candidate while it was drained.
        self._withdraw(name, ids)
        if problems:
            raise Failed("; ".join(problems))
        return ids

    def _end(self, name, ids, here):
        """End and forget the instances ``ids``, all at once; return what went wrong, in sentences.

        :param here: id -> Instance of those that have a record.
        """

        def end(instance):
            try:
                warning = self.ending.stop(instance, *self._place(name, instance, here))
                self.ending.forget(instance)
            except Failed as exc:
                return "", str(exc)
            return warning, ""

        with ThreadPoolExecutor(STOPPED_AT_ONCE) as pool:
            outcomes = list(pool.map(end, ids))
        self.warnings += [warning for warning, _ in outcomes if warning]
        return [problem for _, problem in outcomes if problem]

    def _place(self, name, instance, here):
        """Return address and port of an instance; None for the port if it has none, or another one has it by now."""
        if instance in here:
            return here[instance].address, here[instance].port
        port = slot_of(instance) if self._known(name).ports else None
        return self.node.address, None if port in {i.port for i in self.host.instances.recorded()} else port

    def _drain(self, instances, drain, grace):
        """Let clients finish. Ends when no connection is left, at the latest after ``drain``."""
        if not instances:
            return
        began = time.monotonic()
        time.sleep(min(grace, drain))
        while time.monotonic() - began < drain and any(self.host.instances.connections(i) for i in instances):
            time.sleep(POLL)

    def restart(self, name, ids=None, deployment=None):
        """Withdraw, drain, restart, test and publish again, one instance after the other.

        :param deployment: whose step this is (see Turns.alone).
        """
        app = self.app(name)
        with self.host.turns.alone(name, deployment, patience=self._patience(name)):
            chosen = self.chosen(name, ids)
            for instance in chosen:
                self._restart(app, instance)
        return [i.id for i in chosen]

    def _restart(self, app, instance):
        published = self._withdraw(app.name, [instance.id])
        if published:
            self._drain([instance], app.strategy.drain, app.strategy.grace)
        warning = self.ending.stop(instance.id, instance.address, instance.port)
        self.warnings += [warning] if warning else []
        self.runtime.resume(instance.id)
        failures = self._prove(app, instance, time.monotonic() + app.strategy.healthy_deadline)
        if failures:
            raise Failed("; ".join(failures))
        if published:
            self.publish(app.name, [instance.id])

    # -- restoring ----------------------------------------------------------------------------

    def missing(self, name):
        """Return what the record says this node runs and it does not: ids, none while one deploys.

        :returns: ``(ids, reason)``; the reason says why nothing is to be done, or is empty.
        """
        if self.locked(name):
            return [], f"{name} is being deployed: nothing is restored meanwhile"
        current, problems = records.read(self.discovery, self._prefix(name))
        if not current:
            return [], "; ".join([f"the record has nothing of {name} in {self.environment.name}", *problems])
        wanted = current["nodes"].get(self.host.node, [])
        if not wanted:
            return [], f"the record has no instance of {name} on this node"
        return self._not_good(name, wanted), ""

    def locked(self, name):
        """Return whether somebody holds the lock of app ``name`` in this environment."""
        return bool(self.discovery.read(records.lock_key(self._prefix(name)))[2])

    def _prefix(self, name):
        return records.prefix(self.environment.name, names.app(name))

    def restore(self, name, ids, after=None):
        """Bring those of ``ids`` that do not serve back: installed, tested, published; return which.

        :param after: whose steps this undoes.
        :raises Failed: some do not come back; the others have.
        """
        failures = []
        with self.host.turns.alone(name, after=after, patience=self._patience(name)):
            lost = self._not_good(name, ids)
            for instance in lost:
                try:
                    self._restore(name, instance)
                except DiscoveryUnavailable:
                    raise
                except (Failed, Refused) as exc:
                    failures.append(str(exc))
        if failures:
            raise Failed("; ".join(failures))
        return lost

    def _restore(self, name, instance):
        state = self.runtime.states().get(instance)
        if state and state.running and any(i.id == instance and i.tested for i in self.host.instances.recorded(name)):
            self.publish(name, [instance])  # only discovery has lost it
            return
        version, slot = instance.removeprefix(f"{name}_").rsplit("_", 1)
        self._refuse_slot(name, instance, int(slot))
        self._stop(name, [instance], drain=0)
        # What is installed is what ran, whatever the definition says by now.
        if version not in self.host.releases.versions(name):
            self.install(name, version)
        result = self._start(self.app(name), version, 1, RESTORED, slots=[int(slot)])
        if not result["ok"]:
            self._stop(name, [instance], drain=0)
            raise Failed("; ".join(result["failures"]))
        self.publish(name, [instance])

    def _refuse_slot(self, name, instance, slot):
        """Raise Refused if the instance would take a port that its app does not have, and never had here."""
        ports = self.app(name).ports
        if ports and slot not in ports and not self.host.instances.folder(instance).exists():
            raise Refused(
                f"{instance} is not restored on {self.host.node}: its port is none of apps:{name}:ports ({ports})."
                f" `salt-run deploy.app {name}` starts another one in its place."
            )

    def _not_good(self, name, ids):
        good = {i["id"] for i in self.observe(name)["instances"] if i["running"] and i["published"] and i["tested"]}
        return [i for i in ids if i not in good]

    # -- helpers ------------------------------------------------------------------------------

    def chosen(self, name, ids):
        """Return the instances ``ids`` of app ``name``, all for None; Refused if one is not here."""
        here = {i.id: i for i in self.host.instances.recorded(name)}
        unknown = sorted(set(ids or ()) - set(here))
        if unknown:
            raise Refused(
                f"no such instance on {self.host.node}: {', '.join(unknown)}. Here: {', '.join(here) or 'none'}"
            )
        return [here[i] for i in (here if ids is None else ids)]

    def _record(self, instance):
        return nodefiles.instance(self.host.instances.folder(instance.id) / "instance.json")

    def launch(self, app, instance):
        """Return what an instance is started from."""
        return Launch(app, instance, self.host, self.environment.name)
