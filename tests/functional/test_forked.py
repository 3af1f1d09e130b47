"""Tests of how tests start Salt's commands."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from tests.support.forked import Forks

THREADS = 6


def test_threads_can_ask_for_their_first_commands_at_the_same_time():
    forks, together = Forks(), Barrier(THREADS)
    script = str(Path(sys.executable).with_name("salt-call"))

    def ask(_):
        together.wait()
        command = forks.start([script, "--version"], dict(os.environ), subprocess.PIPE, subprocess.STDOUT)
        return command.communicate(60)[0].split()[0], command.returncode

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(ask, range(THREADS))) == [("salt-call", 0)] * THREADS
