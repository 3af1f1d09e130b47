"""Whether the process of an instance has ended since the instance was published.

A supervisor restarts a crashed process at once, so the checks may all pass.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..definition import instancefiles
from ..system import processes
from ..system.files import explained, write_file
from . import nodefiles

if TYPE_CHECKING:
    from ..runtime.base import Runtime
    from .host import Host


def note(host: Host, runtime: Runtime, instance: str) -> None:
    """Keep the processes that ``instance``, an id, has now, at its publication."""
    with explained():
        write_file(host.instances.folder(instance) / instancefiles.PROCESS, json.dumps(running(runtime, instance)))


def since_publication(host: Host, runtime: Runtime, instances: Sequence[str]) -> list[str]:
    """Return those ids of ``instances`` whose processes are not the processes at their publication."""
    return [i for i in instances if _read_note(host, i) not in (None, running(runtime, i))]


def _read_note(host: Host, instance: str) -> list[Any] | None:
    """Return the processes at the publication of ``instance``. None means that nobody noted them."""
    # An older version of saltdeploy may have published it.
    noted = nodefiles.read(host.instances.folder(instance) / instancefiles.PROCESS)
    return noted if isinstance(noted, list) else None


def running(runtime: Runtime, instance: str) -> list[list[int]]:
    """Return pid and start time of each process of ``instance``. A later process may get the same pid."""
    found = (processes.read(pid) for pid in runtime.processes(instance))
    return sorted([process.pid, process.began] for process in found if process)
