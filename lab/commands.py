"""What the command line can do."""

from __future__ import annotations

import subprocess
import sys
import time

from tooling import ToolError
from tooling.progress import Progress

from . import environment, hosts
from .site import Site, together


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
    machines = environment.machines(repository / "pillar/environments", arguments.environment)
    site = Site(lab, repository, machines)
    began = time.monotonic()
    with progress.step(f"Making the hosts of {arguments.environment}: {', '.join(machines)}"):
        lab.up(repository / ".lab", site.addresses(), kept=True, environment=arguments.environment)
    with progress.step("Getting Consul") as step:
        for version in environment.consul_versions(repository / "pillar/environments", arguments.environment):
            site.serve_consul(version, repository / ".demo/bin", step.say, step.live)
    for requirements in environment.pip_requirements(repository / "pillar", arguments.environment):
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
        f"\n{arguments.environment} runs, {time.monotonic() - booted:.0f} s after its hosts were blank"
        f" ({time.monotonic() - began:.0f} s in all). Try:\n"
    )
    master = site.master.name
    for words in (
        f"exec {master} salt '*' test.ping",
        f"exec {master} salt-run deploy.app httpbin env={arguments.environment}",
        f"exec {master} salt-run deploy.status env={arguments.environment}",
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
    print(f"environment {facts['environment']}")
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
    return Site(lab, repository, environment.machines(repository / "pillar/environments", lab.facts["environment"]))


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
