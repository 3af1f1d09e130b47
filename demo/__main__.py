"""``python3 -m demo up | down | status``, from the repository's root."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tooling import ToolError
from tooling.commands import Terminated
from tooling.daemons import OWNER, only_one
from tooling.progress import Progress

from . import tour
from .cluster import DISCOVERIES, Cluster


def up(cluster, progress):
    """Bring everything up and give the tour."""
    cluster.up()
    tour.show(cluster, progress)


def down(cluster, progress):
    """Stop everything that runs; keep what took long to make."""
    with progress.step("Stopping the demo") as step:
        stopped = cluster.down()
        step.say(", ".join(stopped) or "nothing ran")
    state = cluster.places.state
    if state.is_dir():
        print(f"Kept for the next `make demo`: {state} (packages, programs, releases, logs). Remove it if you like.")


def status(cluster, progress):
    """Print what runs; exit with 1 if anything is missing."""
    running = cluster.daemons.running()
    for name in cluster.names():
        print(f"{name:20} {f'pid {running[name].pid}' if name in running else 'does not run'}")
    if not set(cluster.names()) <= set(running):
        sys.exit(f"Bring up what is missing: {cluster.command}")


def main(arguments=None):
    """Do what the command line says; the exit code is 1 if it failed, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m demo", description=sys.modules[__package__].__doc__)
    commands = {"up": up, "down": down, "status": status}
    parser.add_argument("command", choices=commands)
    about = "of up: how the apps are found (default: consul)"
    parser.add_argument("--discovery", choices=DISCOVERIES, default="consul", help=about)
    options = parser.parse_args(arguments)
    command = options.command
    if not sys.platform.startswith("linux"):
        sys.exit("The demo needs Linux: it uses /proc and addresses like 127.0.0.11.")
    sys.stdout.reconfigure(errors="replace")
    # A child ends with us, however we are ended.
    signal.signal(signal.SIGTERM, Terminated.handle)
    progress = Progress()
    cluster = Cluster(Path(__file__).parent.parent, progress, options.discovery if command == "up" else None)
    # What is started from here on carries the mark: not this process, which has begun without it.
    os.environ[OWNER] = str(cluster.places.state)
    try:
        if command == "status":
            status(cluster, progress)
        else:
            with only_one(cluster.places.state / "lock"):
                commands[command](cluster, progress)
    except (ToolError, OSError) as exc:
        sys.exit(f"\n{exc}")
    except KeyboardInterrupt:
        print(f"\nInterrupted. What runs, runs on: `{cluster.command}` goes on from here, `make demo-down` stops it.")
        sys.exit(130)


if __name__ == "__main__":
    main()
