"""What a lab leaves on this machine: nothing, also when it had no time to clean up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import hosts
from tests.support.site import REPOSITORY

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

# A lab with a host, and a process of it beside; then it is killed.
UP = """\
import sys, time
from lab import hosts
lab = hosts.Lab(wait=hosts.OTHERS).__enter__()
lab.up(hosts.Path(sys.argv[1]), hosts.free_addresses(["one"]))
host = lab.add(hosts.Spec("one", lab.facts["addresses"]["one"]))
host.boot()
host.popen("sleep", "1000")
print("up", flush=True)
time.sleep(1000)
"""


def traces():
    """Return all that there is of a lab on this machine."""
    commands = {path.parent.name: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)}
    return {
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(hosts.STATE) in line],
        "links": [link.name for link in Path("/sys/class/net").glob(f"*{hosts.PREFIX}*")],
        "processes": [c for c in commands.values() if b"systemd-nspawn" in c or c.startswith(b"sleep\0001000\0")],
        "folder": list(hosts.STATE.glob("*")),
    }


def readable(path):
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def test_nothing_is_left_of_a_lab_that_was_killed():
    if hosts.lacking():
        pytest.fail(hosts.lacking())
    command = [sys.executable, "-B", "-c", UP, str(REPOSITORY / ".lab")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "_utils")])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGKILL)
    assert all(traces().values()), traces()
    with hosts.Lab(wait=hosts.OTHERS) as lab:
        assert lab.down() == ["one"]
    assert not any(traces().values()), traces()
