"""What one node does with the instances of an app: start, test, publish, stop, restore.

Every wait here has a deadline, so that a job on a node always ends.
"""

from __future__ import annotations

import time
from dataclasses import replace

from . import definition, discovery, names, probes, records, services
from .errors import DiscoveryUnavailable, Failed, Refused
from .host import RESTORED, Host
from .launch import Launch
from .runtime import choose
from .services import CANDIDATE

# How often a process that is not ready yet is asked again, in seconds.
POLL = 0.1
# How long the catalog may take to show what the agent was told, in seconds: an election takes up to 13.5, and an agent
# that could tell no server tries again after 15 to 30 (Consul's agent/ae/ae.go).
CATALOG_DEADLINE = 60.0
LOG_LINES = 15
# How long a process that cannot be asked must have been up to be ready, in seconds.
SETTLE = 2.0


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
        self.environment = definition.load_own(node, pillar, self.host.validate)
        self.node = self.environment.nodes[node]
        self.settings, self.fetch, self.render = settings, fetch, render
        self._runtime = self._discovery = None

    @property
    def runtime(self):
        self._runtime = self._runtime or choose(self.settings)
        return self._runtime

    @property
    def discovery(self):
        self._discovery = self._discovery or discovery.connect(self.environment.discovery, self.node.address)
        return self._discovery

    def app(self, name):
        """Return the definition of app ``name``; Refused if this environment has none."""
        return definition.find_app(self.environment, name)

    # -- seeing -------------------------------------------------------------------------------

    def observe(self, name):
        """Return all a planner must know of app ``name`` on this node, as plain data."""
        registered = self._registered(name)
        instances = [self._observed(i, registered) for i in self.host.instances(name)]
        known = {i.id for i in instances}
        return {
            "instances": [i.__dict__ for i in instances],
            "releases": self.host.releases(name),
            "ports_taken": sorted(self.host.ports_taken(self.node.address)),
            "ghosts": sorted({i.removesuffix(CANDIDATE) for i in registered} - known),
        }

    def instances(self, name=None):
        """Return the instances on this node as plain data, with the supervisor's word on each."""
        states, registered = self.runtime.states(), self.discovery.registered()
        return {
            i.id: {
                **self._observed(i, registered).__dict__,
                "state": states[i.id].detail if i.id in states else "not started",
            }
            for i in self.host.instances(name)
        }

    def _registered(self, name):
        """Return the services of app ``name`` that the agent has from us: id -> Endpoint."""
        found = {i: e for i, e in self.discovery.registered().items() if e.meta.get("app") == name}
        return {i: e for i, e in found.items() if names.is_instance(i.removesuffix(CANDIDATE))}

    def _observed(self, instance, registered):
        state = self.runtime.states().get(instance.id)
        seen = {"weight": registered[instance.id].weight} if instance.id in registered else {}
        return replace(instance, running=bool(state and state.running), published=bool(seen), **seen)

    # -- starting -----------------------------------------------------------------------------

    def install(self, name, version, digest=""):
        """Install a release; return whether anything was done.

        :param digest: the SHA-256 of the archive that it must be made of; empty: what the definition says.
        """
        return self.host.install(self.app(name), version, self.fetch, names.digest(digest))

    def start(self, name, version, count, deployment, held=False, slots=None, tests=True):
        """Start ``count`` candidates of a release and run the tests that are from the node itself.

        :param held: keep them in discovery until they are published or stopped; else they leave it
            by themselves when the deployment's deadline is over.
        :param slots: the ports to take; None: any that are free.
        :param tests: False takes what is ready for tested.
        :returns: ``{"ok", "instances": [...], "failures": [...]}``
        """
        app = self.app(name) if tests else replace(self.app(name), tests=())
        if not self.host.installed(app, version):
            raise Refused(f"{name} {version} is not installed on {self.host.node}: run app.install first.")
        return self._start(app, version, count, deployment, held, slots)

    def _start(self, app, version, count, deployment, held=False, slots=None):
        deadline = time.monotonic() + app.strategy.healthy_deadline
        started, failures = [], []
        with self.host.starting(app.name, deployment):
            for slot in slots or [None] * count:
                instance = self.host.allocate(app, version, self.node.address, deployment, slot)
                started.append(replace(instance, held=held))
            for instance in started:
                self.host.save(instance)
                launch = self.launch(app, instance)
                launch.write(self.render)
                self.runtime.start(launch.unit)
        for instance in started:
            failures += self._prove(app, instance, deadline)
        return {"ok": not failures, "instances": [self._record(i).__dict__ for i in started], "failures": failures}

    def _prove(self, app, instance, deadline):
        """Wait until the instance is ready, run its own tests, register it as a candidate."""
        problem = self._await_ready(app, instance, deadline)
        problems = [problem] if problem else self._failed_tests(app, instance)
        if problems:
            # They are gone with the instance.
            logs = self.runtime.logs(self.launch(app, instance).unit, LOG_LINES)
            problems[-1] += f"\nits last lines:\n{logs}" if logs else ""
            return [f"{instance.id}: {p}" for p in problems]
        self.host.save(replace(instance, tested=True))
        expires = None if instance.held else app.strategy.progress_deadline
        self.discovery.publish(services.of(app, instance, self.environment.name, candidate=True, expires=expires))
        return []

    def _await_ready(self, app, instance, deadline):
        """Return None once the process is up and passes its checks, else what is wrong with it."""
        values = self.launch(app, instance).values
        checks = [replace(c, status=None, timeout=min(c.timeout, 5.0)) for c in services.checks(app, instance)]
        # Where there is nothing to ask, all there is to see is that it stays up.
        settled = time.monotonic() + (0 if checks else SETTLE)
        last = "it has not listened yet"
        while True:
            state = self.runtime.states().get(instance.id)
            if state is None or state.failed:
                return f"does not stay up: {state.detail if state else 'unknown to the supervisor'}"
            results = [probes.run(check, values) for check in checks]
            if state.running and all(r["ok"] for r in results) and time.monotonic() >= settled:
                return None
            last = next((f"check `{r['test']}`: {r['detail']}" for r in results if not r["ok"]), last)
            if time.monotonic() > deadline:
                return f"is not ready after {app.strategy.healthy_deadline:g}s: {last}"
            time.sleep(POLL)

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
        """Put tested instances into discovery, out of the candidates; return their ids.

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
            self.host.save(instance)
        return [i.id for i in chosen]

    def withdraw(self, name, ids=None, held=True):
        """Take instances out of discovery; they run on, as candidates. Return their ids when the catalog has none."""
        app, chosen = self.app(name), self.chosen(name, ids)
        self._withdraw(name, [i.id for i in chosen])
        for instance in chosen:
            self.host.save(replace(instance, held=held))
            self.discovery.publish(services.of(app, instance, self.environment.name, candidate=True))
        return [i.id for i in chosen]

    def _withdraw(self, name, ids):
        """Take ``ids`` out of discovery; return those that users may have been sent to, once the catalog has none."""
        app, registered = self.app(name), self._registered(name)
        for instance in ids:
            for service in (instance, instance + CANDIDATE):
                if service in registered:
                    self.discovery.withdraw(service)
        # Without a leader an agent forgets what it is told to, and the catalog does not follow: a second try must wait,
        # too. What has not passed its tests was never there.
        tested = {i.id for i in self.host.instances(name) if i.tested}
        waited_for = [i for i in ids if i in registered or i in tested]
        published = {i for i in ids if i in registered}

        def gone(found):
            seen = {e.id for e in found if e.id in waited_for and e.minion == self.host.node}
            published.update(seen)
            return not seen

        if waited_for and not self.discovery.wait(app.name, gone, time.monotonic() + CATALOG_DEADLINE):
            raise DiscoveryUnavailable(
                f"{', '.join(sorted(published))}: still in the catalog {CATALOG_DEADLINE:g}s after it was withdrawn on"
                f" {self.host.node}: nothing was stopped. See `consul monitor` there."
            )
        return sorted(published)

    # -- stopping -----------------------------------------------------------------------------

    def stop(self, name, ids=None, deployment=None, drain=None, grace=None, after=None):
        """Retire instances: withdraw, see them gone from the catalog, drain, stop, forget.

        :param ids: which; also ids that only discovery knows.
        :param deployment: whose step this is (see Host.alone); without ids, stop all that it started: it ends here.
        :param drain: most seconds to wait for open connections; None: the strategy's.
        :param grace: least seconds a published one serves on, for clients that still have its address.
        :param after: whose steps this undoes.
        """
        own, by = (deployment, None) if ids is None else (None, deployment)
        with self.host.alone(self.app(name).name, by, after or own):
            return self._stop(name, ids, own, drain, grace)

    def _stop(self, name, ids=None, deployment=None, drain=None, grace=None):
        strategy = self.app(name).strategy
        drain = strategy.drain if drain is None else drain
        grace = strategy.grace if grace is None else grace
        here = {i.id: i for i in self.host.instances(name)}
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
        for instance in ids:
            self.runtime.stop(instance)
            self.host.forget(instance)
        # One that was still being tested may have become a candidate while it was drained.
        self._withdraw(name, ids)
        return ids

    def _drain(self, instances, drain, grace):
        """Let clients finish. Ends when no connection is left, at the latest after ``drain``."""
        if not instances:
            return
        began = time.monotonic()
        time.sleep(min(grace, drain))
        while time.monotonic() - began < drain and any(self.host.connections(i) for i in instances):
            time.sleep(POLL)

    def restart(self, name, ids=None):
        """Withdraw, drain, restart, test and publish again, one instance after the other."""
        app = self.app(name)
        with self.host.alone(name):
            chosen = self.chosen(name, ids)
            for instance in chosen:
                self._restart(app, instance)
        return [i.id for i in chosen]

    def _restart(self, app, instance):
        published = self._withdraw(app.name, [instance.id])
        if published:
            self._drain([instance], app.strategy.drain, app.strategy.grace)
        self.runtime.restart(instance.id)
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
        prefix = records.prefix(self.environment.name, names.app(name))
        _, _, session = self.discovery.read(records.lock_key(prefix))
        if session:
            return [], f"{name} is being deployed: nothing is restored meanwhile"
        current, _, _ = self.discovery.read(records.current_key(prefix))
        if not current:
            return [], f"{name} was never deployed in {self.environment.name}"
        wanted = current["nodes"].get(self.host.node, [])
        if not wanted:
            return [], f"the record has no instance of {name} on this node"
        return self._not_good(name, wanted), ""

    def restore(self, name, ids, after=None):
        """Bring those of ``ids`` that do not serve back: installed, tested, published; return which.

        :param after: whose steps this undoes.
        :raises Failed: some do not come back; the others have.
        """
        failures = []
        with self.host.alone(name, after=after):
            lost = self._not_good(name, ids)
            for instance in lost:
                try:
                    self._restore(name, instance)
                except DiscoveryUnavailable:
                    raise
                except Failed as exc:
                    failures.append(str(exc))
        if failures:
            raise Failed("; ".join(failures))
        return lost

    def _restore(self, name, instance):
        state = self.runtime.states().get(instance)
        if state and state.running and any(i.id == instance and i.tested for i in self.host.instances(name)):
            self.publish(name, [instance])  # only discovery has lost it
            return
        version, slot = instance.removeprefix(f"{name}_").rsplit("_", 1)
        self._stop(name, [instance], drain=0)
        # What is installed is what ran, whatever the definition says by now.
        if version not in self.host.releases(name):
            self.install(name, version)
        result = self._start(self.app(name), version, 1, RESTORED, slots=[int(slot)])
        if not result["ok"]:
            self._stop(name, [instance], drain=0)
            raise Failed("; ".join(result["failures"]))
        self.publish(name, [instance])

    def _not_good(self, name, ids):
        good = {i["id"] for i in self.observe(name)["instances"] if i["running"] and i["published"]}
        return [i for i in ids if i not in good]

    # -- helpers ------------------------------------------------------------------------------

    def chosen(self, name, ids):
        """Return the instances ``ids`` of app ``name``, all for None; Refused if one is not here."""
        here = {i.id: i for i in self.host.instances(name)}
        unknown = sorted(set(ids or ()) - set(here))
        if unknown:
            raise Refused(
                f"no such instance on {self.host.node}: {', '.join(unknown)}. Here: {', '.join(here) or 'none'}"
            )
        return [here[i] for i in (here if ids is None else ids)]

    def _record(self, instance):
        return self.host.read(self.host.folder(instance.id) / "instance.json")

    def launch(self, app, instance):
        """Return what an instance is started from."""
        return Launch(app, instance, self.host, self.environment.name)
