"""``python3 -m lab up ENVIRONMENT``, ``down``, ``status``, and what can be done to a host of it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tooling import ToolError, venv
from tooling.commands import Terminated
from tooling.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[1]
VERBS = {
    "stop": "shut hosts down in order",
    "start": "boot hosts that are off",
    "kill": "cut the power of hosts",
    "reboot": "reboot hosts by their own init",
    "rebuild": "make hosts anew, blank, as minions whose new keys the master accepts",
    "heal": "end what cut did",
}


def parser():
    """Return the command line's parser."""
    top = argparse.ArgumentParser(prog="python3 -m lab", description=sys.modules[__package__].__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="boot an environment's nodes as hosts, and bring them from blank to running")
    up.add_argument("environments", nargs="+", metavar="ENVIRONMENT", help="of several, one has the master of all")
    up.add_argument("--pillar", type=Path, metavar="FOLDER", help="the root of the pillar, by default this checkout's")
    copy_help = "a folder that the hosts see as /srv/<its name>, read-only, for a source `path`"
    up.add_argument("--working-copy", type=Path, metavar="FOLDER", help=copy_help)
    commands.add_parser("down", help="remove the lab, whatever state it is in")
    commands.add_parser("status", help="print the hosts, their addresses, and whether they are on")
    for verb, what in VERBS.items():
        commands.add_parser(verb, help=what).add_argument("hosts", nargs="+", metavar="HOST")
    cut = commands.add_parser("cut", help="cut a host off from the network, or from other hosts only")
    cut.add_argument("host", metavar="HOST")
    cut.add_argument("others", nargs="*", metavar="OTHER")
    execute = commands.add_parser("exec", help="run a command on a host, as root")
    execute.add_argument("host", metavar="HOST")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD")
    return top


def main():
    """Do what the command line says, in the virtualenv that hosts are lent."""
    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, Terminated.handle)
    try:
        folder = REPOSITORY / ".venv-lab"
        if Path(sys.prefix) != folder:
            _enter(folder)
        from .commands import run

        sys.exit(run(arguments, REPOSITORY))
    except (ToolError, OSError) as exc:
        sys.exit(f"\n{exc}")
    except KeyboardInterrupt:
        print("\nInterrupted. `make lab` begins anew, `make lab-down` removes what is there.")
        sys.exit(130)


def _enter(folder):
    """Go on in the virtualenv, which is made first where it must be."""
    if not venv.ready(folder):
        with Progress().step(f"Making the virtualenv {folder.name}") as step:
            venv.make(folder, step.live)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "_utils")])
    # Nothing compiled is left where the master serves from.
    os.execv(folder / "bin/python", [str(folder / "bin/python"), "-B", "-m", "lab", *sys.argv[1:]])


if __name__ == "__main__":
    main()
