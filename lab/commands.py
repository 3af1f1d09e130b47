"""What the command line can do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tooling import ToolError
from tooling.progress import Progress

from . import environment, hosts
from .site import Site, together

# Folders below /srv that hosts have themselves.
TAKEN = ("files", "pillar", "saltdeploy", "wheels")


def run(arguments, repository):
    """Do what ``arguments`` say; return the exit code."""
    missing = hosts.lacking()
    if missing:
        raise ToolError(missing)
    lab, command = hosts.Lab(), COMMANDS[arguments.command]
    if arguments.command in ("exec", "status"):  # beside others, and as long as it takes
        return command(lab, arguments, repository)
    with lab:
        return command(lab, arguments, repository)


def _up(lab, arguments, repository):
    progress = Progress()
    pillar, names = (arguments.pillar or repository / "pillar").expanduser().resolve(), arguments.environments
    machines = environment.machines(pillar / "environments", *names)
    copy = arguments.working_copy and arguments.working_copy.expanduser().resolve()
    if copy and not copy.is_dir():
        raise ToolError(f"--working-copy {copy}: is no folder.")
    if copy and (copy.name in TAKEN or ":" in str(copy)):
        raise ToolError(f"--working-copy {copy}: hosts have another /srv/{copy.name}, or it has a colon. Rename it.")
    site = Site(lab, repository, machines, pillar, working_copy=copy)
    began, them = time.monotonic(), " and ".join(names)
    with progress.step(f"Making the hosts of {them}: {', '.join(machines)}"):
        lab.up(repository / ".lab", site.addresses(), kept=True, environments=names, pillar=pillar)
    for program, title, serve in (("consul", "Consul", site.serve_consul), ("skydns", "CoreDNS", site.serve_coredns)):
        for version in {v for name in names for v in environment.versions(pillar / "environments", name, program)}:
            with progress.step(f"Getting {title} {version}") as step:
                serve(version, repository / ".demo/bin", step.say, step.live)
    for requirements in [each for name in names for each in environment.pip_requirements(pillar, name)]:
        with progress.step(f"Getting {requirements[0]} and what it requires") as step:
            site.serve_wheels(requirements, repository / ".lab", step.live)
    booted = time.monotonic()
    with progress.step("Booting"):
        site.boot()
    with progress.step("Accepting the minions, each by its key's fingerprint"):
        site.accept()
    with progress.step("Bringing the modules to master and minions"):
        site.sync()
    with progress.step("Highstate: salt '*' state.apply") as step:
        for node, states in sorted(site.highstate().items()):
            changed = sum(bool(state["changes"]) for state in states.values())
            step.say(f"{node}: {len(states)} states, {changed} changed")
    print(
        f"\n{them} {'run' if len(names) > 1 else 'runs'}, {time.monotonic() - booted:.0f} s after its hosts were blank"
        f" ({time.monotonic() - began:.0f} s in all). Try:\n"
    )
    master = site.master.name
    for words in (
        f"exec {master} salt '*' test.ping",
        f"exec {master} salt-run environment.show {names[0]}",
        f"exec {master} salt-run deploy.all env={names[0]}",
        f"exec {master} salt-run deploy.status env={names[0]}",
        *([f"exec {master} ls /srv/{copy.name}"] if copy else []),
        f"kill {site.minions[-1]}",
        f"start {site.minions[-1]}",
        "down",
    ):
        print(f"    python3 -m lab {words}")


def _down(lab, arguments, repository):
    stopped = lab.down()
    print(f"stopped: {', '.join(stopped) or 'nothing ran'}")


def _status(lab, arguments, repository):
    facts = lab.facts
    print(f"environment {' and '.join(facts['environments'])}")
    for host in lab.hosts():
        print(f"  {host.name:20} {host.address:16} {'on' if host.runs() else 'off'}")


def _each(work):
    def command(lab, arguments, repository):
        together(work, [lab.host(name) for name in arguments.hosts])

    return command


def _rebuild(lab, arguments, repository):
    site = _site(lab, repository)
    if site.master.name in arguments.hosts:
        raise ToolError(f"{site.master.name} keeps the environment's keys and secrets: make the lab anew instead")
    together(lambda host: host.rebuild(), [lab.host(name) for name in arguments.hosts])
    site.accept(arguments.hosts)
    site.sync(arguments.hosts)
    print(f"blank, and minions: python3 -m lab exec {site.master.name} salt '*' state.apply")


def _cut(lab, arguments, repository):
    lab.host(arguments.host).cut(*arguments.others)


def _exec(lab, arguments, repository):
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if not words:
        raise ToolError("which command?")
    process = lab.host(arguments.host).popen(*words, stdin=sys.stdin)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(subprocess.signal.SIGINT)
        return process.wait()


def _site(lab, repository):
    pillar = Path(lab.facts["pillar"])
    return Site(lab, repository, environment.machines(pillar / "environments", *lab.facts["environments"]), pillar)


COMMANDS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "exec": _exec,
    "stop": _each(lambda host: host.stop()),
    "start": _each(lambda host: host.boot()),
    "kill": _each(lambda host: host.kill()),
    "reboot": _each(lambda host: host.reboot()),
    "heal": _each(lambda host: host.heal()),
    "rebuild": _rebuild,
    "cut": _cut,
}
