"""Whether the process of an instance has ended since the instance was published.

A supervisor restarts a crashed process at once, so the checks may all pass.
"""

from __future__ import annotations

import json

from ..definition import instancefiles
from ..system import processes
from ..system.files import explained, write_file


def note(host, runtime, instance):
    """Keep the processes that ``instance``, an id, has now, at its publication.

    :param host: a host.Host.
    :param runtime: a runtime of this node.
    """
    with explained():
        write_file(host.instances.folder(instance) / instancefiles.PROCESS, json.dumps(_processes(runtime, instance)))


def since_publication(host, runtime, instances):
    """Return those ids of ``instances`` whose processes are not the processes at their publication."""
    return [i for i in instances if _noted(host, i) not in (None, _processes(runtime, i))]


def _noted(host, instance):
    """Return the processes at the publication of ``instance``. None means that nobody noted them."""
    try:
        noted = json.loads((host.instances.folder(instance) / instancefiles.PROCESS).read_text())
    except (OSError, ValueError):  # an older version of saltdeploy published it
        return None
    return noted if isinstance(noted, list) else None


def _processes(runtime, instance):
    """Return pid and start time of each process of ``instance``. A later process may get the same pid."""
    found = (processes.read(pid) for pid in runtime.processes(instance))
    return sorted([process.pid, process.began] for process in found if process)
