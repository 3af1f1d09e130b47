"""Ends instances: the process that the supervisor started, and every other process of the instance."""

from __future__ import annotations

import signal
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import editions
from ..core.errors import Failed
from ..core.instanceids import parts_of, slot_of
from ..definition import instancefiles
from ..runtime import podman
from ..system import processes, sockets
from ..system.files import explained

if TYPE_CHECKING:
    from ..core.model import App
    from ..runtime.base import Runtime
    from ..system.processes import Process
    from .host import Host


class Ending:
    """Ends the instances of a node.

    :param runtime: the supervisor that runs its instances.
    """

    def __init__(self, host: Host, runtime: Runtime) -> None:
        self.host, self.runtime = host, runtime

    def stop(self, instance: str, address: str, port: int | None) -> str:
        """End all processes of an instance. Its unit stays. Return a warning, empty if all went well.

        :param instance: its id.
        :param port: None if the instance has no port of its own.
        :raises Failed: a process of the instance does not end, or the instance ran and another process has its port
            now.
        """
        folder, how = self.host.instances.folder(instance), self.runtime.stop_of(instance)
        known = [p for p in map(processes.read, self.runtime.processes(instance)) if p]
        known = processes.of(folder, known)
        ran = bool(known)
        killed = self.runtime.stop(instance)

        def left() -> list[Process]:
            return [*processes.of(folder, known), *self._listening(instance, address, port)]

        # The supervisor may not have signalled these processes, so they have the whole time from now on.
        killed |= processes.end(left, signal.Signals[f"SIG{how.signal}"], how.timeout)
        unremoved = self._remove_container(instance)
        others = "" if port is None else self._others(instance, address, port)
        if others and ran:
            raise Failed(others)
        app = instance.split("_", 1)[0]
        cut = (
            f"{instance} did not end within {how.timeout:g}s after SIG{how.signal}, and was killed. Its work in"
            f" progress was cut off. If it needs longer, raise apps:{app}:stop:timeout."
        )
        return " ".join([*([cut] if killed else []), *filter(None, (unremoved, others))])

    def _remove_container(self, instance: str) -> str:
        """Remove the container that killed podman left of a stopped instance. Return a warning, empty if all is well.

        Until then, podman counts it as running, and keeps its mounts and its image.
        """
        app, edition, _ = parts_of(instance)
        if not self.host.releases.image(app, editions.release(edition)):
            return ""
        from ..source import images  # few nodes have containers

        wrong = images.remove_container(podman.name(instance))
        return f"{instance} is stopped, but its container stays. {wrong}." if wrong else ""

    def forget(self, *instances: str) -> None:
        """Remove the units and the folders of instances that were stopped."""
        with explained():
            self.runtime.forget(*instances)
        for instance in instances:
            self.host.instances.forget(instance)

    def sweep(self, app: App, address: str, spared: Collection[str]) -> list[str]:
        """End the processes of ``app`` that belong to no instance. Return a warning for each process.

        :param spared: ids of instances without a record here that may still serve.
        """
        root, number = self.host.root / app.name, signal.Signals[f"SIG{app.stop.signal}"]

        def left() -> list[Process]:
            marked = processes.marked(root / "instances")
            orphans = [p for folder, some in marked.items() if self._is_gone(folder, spared) for p in some]
            return processes.of(known=orphans) if orphans else self._strangers(app, address, spared)

        found = left()
        if found:
            processes.end(left, number, app.stop.timeout)
        return [f"{process} belonged to an instance of {app.name} that is gone. It was ended." for process in found]

    def _is_gone(self, folder: Path, spared: Collection[str]) -> bool:
        return folder.name not in spared and not (folder / instancefiles.RECORD).exists()

    def _strangers(self, app: App, address: str, spared: Collection[str]) -> list[Process]:
        """Return the Processes that work in a folder of ``app`` and listen on a port of it that no instance has."""
        if app.ports is None:
            return []
        here = {s.port for s in sockets.table(sockets.LISTENING)} & set(app.ports)
        taken = {*self.host.instances.ports(), *map(slot_of, spared)}
        found = [p for port in sorted(here - taken) for p in processes.listening(address, port)[0]]
        return [p for p in found if processes.is_inside(p, self.host.root / app.name)]

    def _listening(self, instance: str, address: str, port: int | None) -> list[Process]:
        """Return the Processes that listen on an instance's port and work in a folder of its app.

        A process with the mark of another instance that is here belongs to that instance.
        """
        if port is None:
            return []
        inside = self.host.root / instance.split("_", 1)[0]
        found = [p for p in processes.listening(address, port)[0] if processes.is_inside(p, inside)]
        others = {str(self.host.instances.folder(i.id)) for i in self.host.instances.recorded() if i.id != instance}
        return [p for p in found if processes.mark(p.pid) not in others]

    def _others(self, instance: str, address: str, port: int) -> str:
        """Return a sentence on the processes of others that listen on the port of a stopped instance."""
        found, unseen = processes.listening(address, port)
        names = [*map(str, found), *unseen]
        if not names:
            return ""
        return (
            f"{instance} is stopped, and {', '.join(names)} listens on its port, {port} of {address}. That is not a"
            " process of the instance. End it, or give the app other ports."
        )
