"""What the user sees while it works: a line when a step begins, how long it took when it ends."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time

# Seconds between two lines of progress where a line cannot be overwritten.
QUIET = 10.0
WIDTH = 100


class Progress:
    """Steps on a terminal, or in a log.

    :param out: a text stream; on a terminal the line of what goes on is overwritten.
    """

    def __init__(self, out=None):
        self.out = out or sys.stdout
        self._live = bool(self.out.isatty())
        self._drawn = False
        self._began = self._last = time.monotonic()

    @contextlib.contextmanager
    def step(self, title):
        """Print ``title``, and at the end of the block how long it took."""
        self._print(f"==> {title}")
        # Another step may begin beside it.
        began = self._began = self._last = time.monotonic()
        yield self
        self.say(f"done in {time.monotonic() - began:.1f} s")

    def say(self, text):
        """Print a line that stays."""
        self._print(f"    {text}")

    def live(self, text):
        """Show what goes on right now; on a terminal it is overwritten by what follows."""
        now = time.monotonic()
        line = f"    {now - self._began:3.0f} s  {' '.join(text.split())}"
        if self._live:
            self.out.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            self.out.flush()
            self._drawn = True
        elif now - self._last >= QUIET:
            self._last = now
            self._print(line[:WIDTH])

    def _print(self, line):
        self.out.write(("\r\x1b[K" if self._drawn else "") + line + "\n")
        self.out.flush()
        self._drawn = False
