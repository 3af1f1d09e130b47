"""Commands that end: run to the end, with a deadline, none of their children left behind."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import threading

from . import ToolError

# The user's shell may point Python, Consul's command line, make or systemd elsewhere; and where Python keeps nothing
# compiled, each Salt job compiles all of the bundle anew.
FOREIGN = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "NOTIFY_SOCKET"),
    *("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SALT_"),
)
TAIL = 15


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Unlike a Ctrl-C it came to this process alone."""

    @classmethod
    def handle(cls, number, frame):
        """Raise it, as a signal handler."""
        raise cls


def environment(**more):
    """Return this process's environment without what would lead ours astray, and with ``more``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith((*FOREIGN, "CONSUL"))}
    # Else setproctitle, which Salt uses, writes its title over the marks that a process is known by.
    return {**kept, "SPT_NOENV": "1", **more}


def run(command, on_line=lambda line: None, timeout=None, cwd=None, env=None):
    """Run ``command``; raise ToolError with its last lines if it fails.

    :param on_line: called with each line that it prints.
    :param timeout: seconds after which it is killed with its children.
    :returns: what it printed.
    """
    lines, tail, late = [], collections.deque(maxlen=TAIL), threading.Event()
    name = " ".join(map(str, command))
    try:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=cwd,
            env=environment() if env is None else env,
            # A group of its own, so that all of it can be ended.
            start_new_session=True,
        )
    except OSError as exc:
        raise ToolError(f"{name}: {exc}") from exc
    timer = threading.Timer(timeout or 0, lambda: (late.set(), _kill(process)))
    if timeout:
        timer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            tail.append(line.rstrip())
            on_line(line.rstrip())
        process.wait()
    finally:
        timer.cancel()
        _kill(process)
        process.wait()
        process.stdout.close()
    if late.is_set():
        raise ToolError(f"{name}: not done after {timeout:g} s")
    if process.returncode:
        raise ToolError("\n".join([f"{name}: exit code {process.returncode}", *tail]))
    return "".join(lines)


def _kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
