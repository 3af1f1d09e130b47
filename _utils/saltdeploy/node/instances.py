"""The instances on a node: their records, their folders and their ports."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import addresses, editions, names
from ..core.errors import Failed
from ..core.instanceids import instance_id, slot_of, version_of
from ..core.model import Instance
from ..definition import instancefiles
from ..system import filelocks, files, sockets, trees
from ..system.files import explained, make_folder, write_file
from . import nodefiles, portless

if TYPE_CHECKING:
    from ..core.model import App


@dataclass
class Instances:
    """The instances on the minion ``node``, in its folder ``root``."""

    node: str
    root: Path

    # -- records and folders ------------------------------------------------------------------

    def folder(self, instance: str) -> Path:
        """Return the folder of an instance, given its id."""
        return self.root / names.instance(instance).split("_", 1)[0] / "instances" / instance

    def recorded(self, app: str | None = None) -> list[Instance]:
        """Return the instances with a readable record on this node, of ``app`` or of all apps."""
        return self._read(app)[0]

    def broken(self, app: str | None = None) -> dict[str, str]:
        """Return ``{id: sentence}``: why the record of an instance, of ``app`` or of any app, cannot be read."""
        return self._read(app)[1]

    def strays(self, app: str | None = None) -> list[str]:
        """Return the ids of the folders, of ``app`` or of all apps, without a record of this node.

        The record is lost or broken, or it names another node. Then the folder is a copy, as on a cloned machine.
        """
        _, broken, lost = self._read(app)
        return sorted([*broken, *lost])

    def _read(self, app: str | None) -> tuple[list[Instance], dict[str, str], list[str]]:
        """Return instances of ``app``, broken instances with the reason, and the ids of folders without a record."""
        found: list[Instance] = []
        broken: dict[str, str] = {}
        lost: list[str] = []
        for folder in sorted(self.root.glob(f"{'*' if app is None else names.app(app)}/instances/*")):
            path, own = folder / instancefiles.RECORD, (self.node, folder.parent.parent.name)
            try:
                instance = nodefiles.instance(path)
                # Compare the node in the file, but never trust it.
                if (instance.node, instance.app) == own:
                    found.append(instance)
                else:
                    lost.append(folder.name)
            except (FileNotFoundError, NotADirectoryError):
                lost.append(folder.name)
            except (OSError, ValueError) as exc:
                broken[folder.name] = files.sentence(exc) if isinstance(exc, OSError) else f"{path}: {exc}."
        lost = [i for i in lost if _can_be_instance(i)]
        return found, {i: wrong for i, wrong in broken.items() if _can_be_instance(i)}, lost

    def of_release(self, app: str, version: str) -> list[str]:
        """Return the ids of the instances of a release with any settings, also of instances with a broken record."""
        here = [i.id for i in self.recorded(app)] + list(self.broken(app))
        return [i for i in here if editions.release(version_of(i)) == version]

    def save(self, instance: Instance) -> None:
        """Write the record of ``instance``."""
        with explained():
            write_file(self.folder(instance.id) / instancefiles.RECORD, json.dumps(asdict(instance), indent=1))

    def forget(self, instance: str) -> None:
        """Remove the folder of an instance, given its id. This frees its port.

        :raises Failed: the folder cannot be removed.
        """
        folder = self.folder(instance)
        with explained(), contextlib.suppress(FileNotFoundError):
            trees.remove(folder)

    # -- ports --------------------------------------------------------------------------------

    def allocate(
        self,
        app: App,
        version: str,
        address: str,
        deployment: str,
        slot: int | None = None,
        avoid: Collection[int] = (),
        first: Collection[int] = (),
    ) -> Instance:
        """Record a new instance. It takes a free port of the app, or a free number if the app has no ports.

        :param slot: the port or number to take. None takes any free port or number.
        :param avoid: the ports or numbers of instances that have no record here.
        :param first: the ports or numbers to try first.
        :raises Failed: no port or number is free.
        """
        with contextlib.ExitStack() as held, explained():
            make_folder(self.root)
            held.enter_context(filelocks.hold(self.root / ".lock"))
            slot = self._free_slot(app, address, slot, avoid, first)
            instance = Instance(
                id=instance_id(app.name, version, slot),
                node=self.node,
                app=app.name,
                version=version,
                slot=slot,
                address=address,
                port=slot if app.ports else None,
                deployment=deployment,
                watch=self._watch_port(address) if app.is_watched else None,
            )
            self.forget(instance.id)  # another instance, or another machine, may have left files there
            make_folder(self.folder(instance.id))
            self.save(instance)
        return instance

    def _free_slot(
        self, app: App, address: str, slot: int | None, avoid: Collection[int], first: Collection[int]
    ) -> int:
        if app.ports is None:
            return self._free_number(app, slot, avoid, first)
        taken = self.ports_taken(address) | set(avoid)
        own = set(app.ports)
        for port in [*(p for p in first if p in own), *app.ports] if slot is None else (slot,):
            if port not in taken and _can_bind(address, port):
                return port
        if slot is not None:
            raise Failed(f"port {slot} is not free on {self.node} for {app.name}. Stop the process that uses it.")
        raise Failed(
            f"no port of {app.ports} is free on {self.node} for {app.name}. Widen apps:{app.name}:ports, or stop a"
            " process that uses one of these ports."
        )

    def _free_number(self, app: App, slot: int | None, avoid: Collection[int], first: Collection[int]) -> int:
        taken = {i.slot for i in self.recorded(app.name)} | {slot_of(i) for i in self.broken(app.name)}
        taken |= set(avoid)
        if slot in taken:
            raise Failed(f"slot {slot} of {app.name} is in use on {self.node}. Stop that instance first.")
        return slot if slot is not None else next(n for n in (*first, *range(len(taken) + 1)) if n not in taken)

    def _watch_port(self, address: str) -> int:
        return portless.port(self.ports_taken(address), lambda number: _can_bind(address, number))

    def ports(self) -> set[int]:
        """Return the ports of all instances on this node, also of instances that do not listen."""
        instances, broken, _ = self._read(None)
        return {i.port for i in instances if i.port} | {slot_of(i) for i in broken}

    def ports_taken(self, address: str) -> set[int]:
        """Return the ports that an instance has, or that a process listens on at ``address``."""
        listening = {s.port for s in sockets.table(sockets.LISTENING) if s.address in sockets.heard_at(address)}
        watched = {i.watch for i in self.recorded() if i.watch}
        return listening | watched | self.ports()

    def connections(self, instance: Instance) -> int:
        """Return the number of open connections to ``instance``."""
        here = (addresses.canonical(instance.address), instance.port)
        return sum((s.address, s.port) == here for s in sockets.table(sockets.ESTABLISHED))


def _can_be_instance(name: str) -> bool:
    """Return whether ``name`` is the name of an instance's folder. The number of a hook's folder is out of range."""
    return names.is_instance(name) and slot_of(name) in names.SLOTS


def _can_bind(address: str, port: int) -> bool:
    """Return whether a process could listen at ``address`` and ``port``.

    :raises Failed: this node has no such address.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as exc:
        # A kernel without IPv6 has no such sockets.
        if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(exc, socket.gaierror):
            raise Failed(
                f"{address} is not an address of this node. Correct it in the nodes of the environment."
            ) from exc
        return False
    return True
