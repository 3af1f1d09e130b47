"""``salt-run`` that kills itself at one of its steps: ``crash.py STEP FILE ARGUMENT…``, as forked.py runs it.

A step is a job that changes something, before it is sent, and where several nodes do it, as the first has answered; or
a write of the record. STEP is the number of one, from 1, or the name, of which it is the first. FILE is where the names
of the steps go that it comes to.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys

from salt.scripts import salt_run
from saltdeploy.master.lock import Lock
from saltdeploy.master.remote.fleet import Fleet

LOOKING = ("test.ping", "app.observe", "app.room", "app.files", "app.waiting", "app.crashed")


class Steps:
    """Counts the steps, and ends the process at one of them."""

    def __init__(self, last, path):
        self.last, self.path, self.count = last, path, 0

    def come_to(self, name):
        self.count += 1
        with open(self.path, "a") as file:
            file.write(f"{name}\n")
        if self.last in (str(self.count), name):
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self):
        """Have Fleet.run and Lock.write say when they come to a step."""
        run, write = Fleet.run, Lock.write

        @functools.wraps(run)
        def watched_run(fleet, function, nodes, *args, on_reply=lambda reply: None, **kwargs):
            answers = itertools.count()

            def replied(reply):
                if len(nodes) > 1 and not looks and not next(answers):
                    self.come_to(f"one of {function}")
                on_reply(reply)

            looks = function in LOOKING
            if nodes and not looks:
                self.come_to(function)
            return run(fleet, function, nodes, *args, on_reply=replied, **kwargs)

        @functools.wraps(write)
        def watched_write(lock, entries, *args, **kwargs):
            self.come_to(f"write {', '.join(key.split('/')[3] for key in entries)}")
            write(lock, entries, *args, **kwargs)

        Fleet.run, Lock.write = watched_run, watched_write


if __name__ == "__main__":
    Steps(sys.argv[1], sys.argv[2]).watch()
    sys.argv = ["salt-run", *sys.argv[3:]]
    salt_run()
