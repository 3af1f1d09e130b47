"""Every command of the tutorial on three environments, in its order, with the output that the page shows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab import hosts
from tests.support.site import REPOSITORY

pytestmark = pytest.mark.skipif(bool(hosts.lacking()) and "CI" not in os.environ, reason=hosts.lacking())

PAGE = REPOSITORY / "docs/tutorial/environments.rst"
BLOCK = re.compile(r"^\.\. code-block:: console\n\n((?:   .*\n|\n)+)", re.MULTILINE)
# The end of a command's output, with the command's number and exit code.
END = "==== {} {}"
SECONDS = 1500


def steps():
    """Return each command of the page, with the output that it shows."""
    found = []
    for block in BLOCK.findall(PAGE.read_text()):
        for line in [line[3:] for line in block.rstrip().splitlines()]:
            if line.startswith("$ "):
                found.append([line[2:], ""])
            elif "{\n" in f"{found[-1][0]}\n" and not found[-1][0].endswith("}"):  # a function of the shell
                found[-1][0] += f"\n{line}"
            else:
                found[-1][1] += f" {line}"
    return found


def pattern(output):
    """Return what a shown output is a pattern of: its versions and times are others, and ``…`` stands for anything."""
    text = re.escape(" ".join(output.split())).replace("…", ".*")
    text = re.sub(r"wc\\-[0-9a-f]{12}", "wc-[0-9a-f]{12}", text)
    return re.sub(r"\\\([0-9]+\\\.[0-9]\\ s\\\)", r"\\([0-9.]+ m?s\\)", text).replace(r"\ ", " ")


def test_steps_are_found():
    commands = [command for command, _ in steps()]
    assert commands[0].startswith("mkdir") and commands[-1].startswith("rm -r") and len(commands) > 20
    assert next(c for c in commands if c.startswith("release() {")).split()[-1] == "}"
    assert re.search(pattern("hello wc-5bb6f9a71a4e … (8.1 s)"), "hello wc-0123456789ab is there (1.0 s)")
    assert not re.search(pattern("hello wc-5bb6f9a71a4e"), "hello 1.0")


def test_all_commands_of_the_tutorial(tmp_path):
    with hosts.Lab(wait=hosts.OTHERS) as lab:
        assert not lab.kept, "a lab is up on this machine: make lab-down"
    found = steps()
    script = "\n".join(f"{command}\necho '{END.format(number, '')}'$?" for number, (command, _) in enumerate(found))
    # Another home, with the same caches.
    caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": caches}
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS"):
        environment.pop(name, None)
    log = tmp_path / "log"
    try:
        with log.open("w") as out:
            command = ["bash", "-c", script]
            options = {"cwd": REPOSITORY, "env": environment, "stdin": subprocess.DEVNULL, "timeout": SECONDS}
            subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False, **options)
    finally:
        with hosts.Lab(wait=hosts.OTHERS) as lab:
            lab.down()
    text = log.read_text()
    for number, (command, shown) in enumerate(found):
        output, _, text = text.partition(END.format(number, ""))
        code, _, text = text.partition("\n")
        assert code == "0", f"{command}: {output}"
        assert re.search(pattern(shown), " ".join(output.split())), f"{command}: {output}"
    assert not Path(tmp_path / "hello").exists()
