"""The health of apps without ports. A watcher beside each instance answers whether the process runs.

Such an app answers no requests, and Consul's agents run no scripts. So the start script of an instance starts a small
process first, the watcher (see :mod:`saltdeploy.node.watcher`). Consul asks the watcher over HTTP. The app is still
the supervisor's own process. Its signals, its output, its exit status and its children stay as they are.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Container
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import Failed
from . import watcher

if TYPE_CHECKING:
    from ..core.model import Instance
# The ports of watchers, below the ports that the kernel gives to clients (ip_local_port_range, 32768 and higher).
PORTS = range(32000, 32768)
# How long a process must have run to be healthy, in seconds. It is longer than the interval of the check, so that the
# check sees each restart.
SETTLE = 3.0


def port(taken: Container[int], free: Callable[[int], bool]) -> int:
    """Return the port for a new watcher.

    :param taken: ports that are in use or allocated.
    :param free: ``free(port)`` returns whether a process can listen on ``port``.
    :raises Failed: no port is free.
    """
    found = next((number for number in PORTS if number not in taken and free(number)), None)
    if found is None:
        raise Failed(
            f"no port from {PORTS[0]} to {PORTS[-1]} is free for the check of an app without ports: stop the"
            " processes that use them. See: ss -ltnp"
        )
    return found


def line(instance: Instance, script: Path, plan: Path) -> str:
    """Return the line of a shell script that starts the watcher of the process which the script becomes.

    :param script: path of the watcher's file.
    :param plan: path of the file with the scripts and checks that it runs.
    """
    words = [*python(), str(script), "$$", instance.address, str(instance.watch), f"{SETTLE:g}", str(plan)]
    command = " ".join(word if word == "$$" else shlex.quote(word) for word in words)
    # A separate shell starts it and ends at once. So the app has only its own children, and no folder is in use.
    return f"(cd /; {command} </dev/null >/dev/null &)\n"


def source() -> str:
    """Return the text of the watcher's file."""
    return Path(watcher.__file__).read_text()


def python() -> list[str]:
    """Return the command of the system's Python, which any user may run and which outlasts Salt's Python."""
    return [shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable, "-I", "-S"]
