"""Whether the instances that a run has published ran on since then.

A supervisor starts again at once what has ended, so that no check may ever see it. What crashes again and again must
not replace what runs.
"""

from __future__ import annotations

import json

from . import instancefiles, processes
from .errors import Failed
from .files import explained, write_file


def note(host, runtime, instance, run):
    """Keep which processes ``instance`` has.

    :param host: a host.Host.
    :param instance: an id.
    :param run: the id of the deployment that publishes it.
    """
    kept = {"run": run, "processes": _identities(runtime, instance)}
    with explained():
        write_file(host.instances.folder(instance) / instancefiles.PROCESS, json.dumps(kept))


def refuse_restarted(host, runtime, app, run):
    """Raise Failed if an instance of ``app`` on this node that ``run`` has published has ended since then.

    :param app: the app's name.
    """
    ended = [i.id for i in host.instances.recorded(app) if _ended(host, runtime, i.id, run)]
    if ended:
        raise Failed(
            f"{', '.join(ended)} ended after it was published, also if it runs again by now. Nothing is retired"
            f" for it. See salt {host.node} app.logs {app}."
        )


def _ended(host, runtime, instance, run):
    path = host.instances.folder(instance) / instancefiles.PROCESS
    try:
        kept = json.loads(path.read_text())
        its, before = kept["run"], kept["processes"]
    except (OSError, ValueError, LookupError, TypeError):  # an older version has published it
        return False
    return its == run and bool(before) and before != _identities(runtime, instance)


def _identities(runtime, instance):
    """Return what tells the processes of ``instance`` from later ones, which may have the same numbers."""
    found = (processes.read(pid) for pid in runtime.processes(instance))
    return sorted([process.pid, process.began] for process in found if process)
