"""Runs the health agent: ``python -m saltdeploy.health FILE``. See docs/howto/skydns for the file."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ..core.errors import Refused
from . import settings
from .keeper import Keeper
from .registry import Registry
from .server import Server


def main(arguments: list[str]) -> int:
    """Run until SIGTERM or SIGINT. Return the exit code."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    if len(arguments) != 1:
        print("usage: python -m saltdeploy.health FILE", file=sys.stderr)
        return 2
    try:
        found = settings.read(Path(arguments[0]))
        registry = Registry(found.node, found.folder / "services")
        keeper = Keeper(found, registry)
        server = Server(found, registry, keeper)
    except (Refused, OSError) as exc:
        print(exc, file=sys.stderr)
        return 1
    # Statuses from before are true if this agent followed the last one so soon that its records are still there.
    registry.load(believed=keeper.resume())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    failed = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException:
            logging.exception("the health agent ends")
            failed.append(work)
            ended.set()

    for work in (keeper.run, server.serve_forever):
        threading.Thread(target=run, args=(work,), daemon=True).start()
    ended.wait()
    keeper.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
