"""``python -m saltdeploy validate PILLAR_ROOT``: finds the mistakes in a folder of pillar, without a master.

It is for a pre-commit hook, and for the CI of a repository with pillar. Its exit code is 0 without mistakes, 1 with
mistakes, and 3 if it cannot begin.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .core import tracebacks
from .core.errors import REFUSED, REVERTED, Refused


def main(arguments: list[str] | None = None) -> int:
    """Run the command in ``arguments``, by default those of the command line. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m saltdeploy", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    validate = commands.add_parser("validate", help="find the mistakes in a folder of pillar")
    validate.add_argument("root", type=Path, help="the folder that has environments/ and apps/")
    try:
        given = parser.parse_args(arguments)
    except SystemExit as exc:
        return REFUSED if exc.code else 0
    if not (given.root / "environments").is_dir():
        print(f"{given.root}: has no folder environments. Name the folder of pillar.", file=sys.stderr)
        return REFUSED
    try:
        from .environment import findings, pillarroots

        with pillarroots.offline() as opts:
            found = findings.find(pillarroots.read(given.root, opts), sealed=True)
    except ImportError as exc:
        print(f"{exc}. Run this with the Python of Salt.", file=sys.stderr)
        return REFUSED
    except Refused as exc:
        print(exc, file=sys.stderr)
        return REFUSED
    except Exception as exc:  # 1 would mean that there are mistakes
        print(f"Internal error in saltdeploy ({tracebacks.told(exc)}).", file=sys.stderr)
        return REFUSED
    for finding in found:
        print(finding)
    print(f"{len(found)} mistake{'s' * (len(found) != 1)} found", file=sys.stderr)
    return REVERTED if found else 0


if __name__ == "__main__":
    sys.exit(main())
