"""The instances of an app that are on this node, according to files, supervisor and discovery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import definition
from ..core import names, shapes
from ..core.changes import Changes
from ..core.instanceids import parts_of
from ..core.model import App, Instance, undefined
from ..definition import loadbalancer, stops
from ..discovery import registration
from ..discovery.registration import CANDIDATE, instance_of
from ..system import processes
from . import registrationfiles, watching
from .launch import Launch

if TYPE_CHECKING:
    from ..core.environment import Environment
    from ..discovery import Endpoint
    from ..discovery.backend import Backend
    from ..runtime.base import Runtime, State
    from .host import Host

# An app without a definition has no source, and nobody asks it for one.


@dataclass(frozen=True)
class Observation:
    """The state of an app on this node, as a planner needs it.

    :param stop_timeouts: id -> seconds that an instance has to stop.
    :param releases: the versions that are installed.
    :param data: the path of the app's data folder, empty if it holds nothing.
    :param slots: how many instances the HAProxy here has slots for. None means that this is no load balancer.
    :param editions: the editions whose settings are kept here -> the keys that differ from the definition of now. None
        if they were not compared.
    :param warnings: the faults of this node, in sentences.
    """

    instances: list[Instance]
    stop_timeouts: dict[str, float]
    releases: list[str]
    ports_taken: list[int]
    data: str
    slots: int | None
    warnings: list[str]
    editions: dict[str, Changes | None] = field(default_factory=dict)


class Description(NamedTuple):
    """An instance, and its state in the words of the supervisor."""

    instance: Instance
    state: str


class Inventory:
    """All instances here, also instances that only the files, the supervisor or discovery knows.

    :param host: the files of this node.
    :param environment: the environment of this node.
    :param runtime: its supervisor.
    :param discovery: its agent of service discovery.
    """

    def __init__(self, host: Host, environment: Environment, runtime: Runtime, discovery: Backend) -> None:
        self.host, self.environment, self.runtime, self.discovery = host, environment, runtime, discovery
        self.node = environment.nodes[host.node]

    def observe(self, name: str) -> Observation:
        """Return the state of app ``name`` on this node."""
        app, broken, instances = self.app(name), self.host.instances.broken(name), self.instances(name)
        outdated = self.find_outdated(app, instances)
        return Observation(
            instances=[replace(i, outdated=", ".join(outdated.get(i.id, ()))) for i in instances],
            stop_timeouts=self.stop_timeouts([i.id for i in instances]),
            releases=self.host.releases.versions(name),
            ports_taken=sorted(self.host.instances.ports_taken(self.node.address)),
            data=str(self.host.data.path(app)) if self.host.data.has_any(app) else "",
            slots=self._slots(name),
            warnings=self._warnings(app, broken),
        )

    def find_outdated(self, app: App, instances: Iterable[Instance]) -> dict[str, list[str]]:
        """Return id -> the parts of its registration that differ from its definition, of published ``instances``."""
        published = [i for i in instances if i.published and i.recorded]
        # A node that may not run an app does not know the definition of its registration.
        if not published or app.name not in self.environment.apps or app.source is None:
            return {}
        seen, counts, place = self.registered(app.name), self.discovery.check_counts(), self.environment.name
        wanted = {i.id: registration.all_of(app, i, place, self.host.key) for i in published if i.id in seen}
        found = {i: registration.differences(some, seen, counts, i) for i, some in wanted.items()}
        for i in published:
            if i.id in found and "checks" not in found[i.id] and self._watches_otherwise(app, i):
                found[i.id].append("checks")
        return found

    def _watches_otherwise(self, app: App, instance: Instance) -> bool:
        """Return whether the watcher of an instance runs other checks than those of the definition."""
        if not (instance.watch and app.is_watched):
            return False
        kept = self.host.settings.read(app.name, instance.version, instance.slot)
        launch = Launch(app, instance, self.host, self.environment.name, kept)
        # A watcher of an older version has no such file, and its instance is replaced.
        return watching.read(launch) not in ("", watching.text(launch))

    def stop_timeouts(self, ids: Iterable[str]) -> dict[str, float]:
        """Return id -> seconds that an instance has to end. Its unit may be of an earlier definition."""
        return {i: min(self.runtime.stop_of(i).timeout, stops.MOST) for i in ids}

    def app(self, name: str) -> App:
        """Return the App called ``name``. Without a valid definition it has no settings, and can still be stopped."""
        if name in self.environment.names:
            return definition.known_by_name(self.environment, name)
        return undefined(names.app(name))

    def instances(self, name: str) -> list[Instance]:
        """Return the Instances of app ``name`` on this node. Only discovery or the supervisor may know some of them."""
        registered, states = self.registered(name), self.runtime.states()
        known = {i.id: self._complete(i, registered, states) for i in self.host.instances.recorded(name)}
        ids = {*self.host.instances.strays(name), *states, *map(instance_of, registered)}
        strays = (i for i in sorted(ids) if i not in known and shapes.is_of(i, name))
        return [*known.values(), *(self._stray(i, registered, states) for i in strays)]

    def describe(self, name: str | None = None) -> dict[str, Description]:
        """Describe the instances of app ``name``, or of all apps, by id."""
        states = self.runtime.states()
        chosen = [name] if name else sorted({*self.environment.apps, *(i.app for i in self.host.instances.recorded())})
        return {
            i.id: Description(i, states[i.id].detail if i.id in states else "not started")
            for app in chosen
            for i in self.instances(app)
        }

    def registered(self, name: str) -> dict[str, Endpoint]:
        """Return ``{id: Endpoint}`` of the services of app ``name`` that the agent has for this environment.

        Only the ids decide, also if another program registered the services. Another environment may have the same
        agent.
        """
        found = {i: e for i, e in self.discovery.registered().items() if shapes.is_of(instance_of(i), name)}
        return {i: e for i, e in found.items() if e.meta.get("environment") in (None, self.environment.name)}

    def in_use(self, name: str) -> set[str]:
        """Return the ids of instances of app ``name`` that the supervisor or discovery has. Clients may use them."""
        units = {i for i in self.runtime.states() if shapes.is_of(i, name)}
        return units | set(map(instance_of, self.registered(name)))

    def find_lost(self, name: str, ids: Iterable[str]) -> list[str]:
        """Return those ``ids`` of app ``name`` that do not serve: not running, or not published under each name."""
        registered = self.registered(name)
        serving = {i.id for i in self.instances(name) if i.running and i.published}
        return [i for i in ids if i not in serving or not self._kept(i) <= set(registered)]

    def _kept(self, instance: str) -> set[str]:
        """Return the ids of the services under which clients found an instance, given its id, as this node has kept."""
        return {service.id for service in registrationfiles.kept(self.host, instance)}

    def warn_of_odd(self, name: str) -> list[str]:
        """Return a sentence on each instance of app ``name`` that serves and is not as this node has started it."""
        return [
            f"{i.id} serves on {self.host.node}, and its files, its address or its supervisor do not know it so."
            f" salt-run deploy.app {name} env={self.environment.name} replaces it."
            for i in self.instances(name)
            if i.running and i.published and not i.tested
        ]

    def find_undefined(self) -> list[str]:
        """Return the names of apps that this node runs or registers, and that its environment does not define."""
        own = [e for e in self.discovery.registered().values() if e.meta.get("environment") == self.environment.name]
        apps = {i.app for i in self.host.instances.recorded()} | {e.meta.get("app", "") for e in own}
        return sorted(a for a in apps if names.is_app(a) and a not in self.environment.names)

    def _slots(self, name: str) -> int | None:
        """Return how many instances of app ``name`` HAProxy here has slots for, None if this is no load balancer."""
        if loadbalancer.ROLE not in self.node.roles:
            return None
        try:
            return loadbalancer.slots_in(Path(loadbalancer.HAPROXY).read_text(), name)
        except OSError:
            return 0

    def _warnings(self, app: App, broken: Mapping[str, str]) -> list[str]:
        """Return the faults of this node that concern ``app``, in sentences."""
        ignored = [f"resources:{key}" for key in self.runtime.lacks if getattr(app, key)]
        found = [
            f"{i} is broken: {why} salt-run deploy.app {app.name} env={self.environment.name} replaces it."
            for i, why in broken.items()
        ]
        found += [
            f"{app.name} {version} is broken: {why} A deployment that starts it there installs it again. To"
            f" remove it, run app.remove {app.name} \"'{version}'\" there."
            for version, why in self.host.releases.broken(app.name).items()
        ]
        if ignored:
            found.append(f"{self.runtime.name} does not enforce apps:{app.name}:{' and '.join(ignored)}.")
        return found

    def _complete(
        self, instance: Instance, registered: Mapping[str, Endpoint], states: Mapping[str, State]
    ) -> Instance:
        """Return a recorded instance, completed by the facts that discovery, the supervisor and the ports show."""
        public, state = registered.get(instance.id), states.get(instance.id)
        supervised = bool(state and state.running)
        # A process that a killed supervisor left may still serve. The new supervisor cannot start its own beside it.
        serving = bool(public) and not supervised and self._serves(instance)
        # Such an instance is replaced. So is an instance at another address, as no test would reach the right process.
        tested = instance.tested and instance.address == self.node.address and not serving
        weight = public.weight if public else instance.weight
        return replace(instance, running=supervised or serving, published=bool(public), tested=tested, weight=weight)

    def _serves(self, instance: Instance) -> bool:
        """Return whether a process of the app, or a process hidden from this process, listens on an instance's port."""
        if instance.port is None:
            return False
        found, unseen = processes.listening(instance.address, instance.port)
        return bool(unseen) or any(processes.is_inside(p, self.host.root / instance.app) for p in found)

    def _stray(self, one: str, registered: Mapping[str, Endpoint], states: Mapping[str, State]) -> Instance:
        """Return the Instance of an id without a record here. If registered, it counts as serving while it listens.

        It is replaced like an instance that has not passed its tests, because nobody knows how it was started.
        """
        name, version, slot = parts_of(one)
        public, state = registered.get(one), states.get(one)
        seen = public or registered.get(one + CANDIDATE)
        port = (seen.port or None) if seen else slot if self.app(name).ports else None
        address = (seen and seen.address) or self.node.address
        made = Instance(one, self.host.node, name, version, slot, address, port, recorded=False)
        taken = port in {i.port for i in self.host.instances.recorded()}
        running = bool(state and state.running) or bool(public and not taken and self._serves(made))
        weight = public.weight if public else made.weight
        return replace(made, running=running, published=bool(public), weight=weight)
