"""An app that faults are done to: what its users have and what lies about, before and after."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass

import requests
from saltdeploy import discovery
from saltdeploy.system import sockets

from tests.support import apps
from tests.support.site import REPOSITORY, salt_environment

NAME, PORTS = "shop", (23000, 23019)
# Short times: it is right or wrong at once on this machine.
STRATEGY = {
    "waves": [1, "100%"],
    "min_healthy_time": "300ms",
    "healthy_deadline": "10s",
    "progress_deadline": "60s",
    "drain": "3s",
    "deregister_delay": "500ms",
}


@dataclass(frozen=True)
class Traces:
    """All that there is of an app, wherever it may leave something."""

    published: dict
    candidates: set
    listening: set
    folders: set
    record: dict
    locked: bool

    @property
    def versions(self):
        return sorted(version for _, _, version in self.published.values())

    @property
    def clean(self):
        """Whether nothing is there but what is published."""
        where = {(address, port) for address, port, _ in self.published.values()}
        return (
            not self.candidates and not self.locked and self.listening == where and self.folders == set(self.published)
        )


class Target:
    """An app on the site.

    :param archives: its releases: an apps.Archives.
    :param ports: the first and the last of its ports.

    ``old`` and ``new`` are two releases that are good. ``waves`` is what a strategy has if none are given.
    """

    old, new = "1.0", "1.1"
    waves = STRATEGY["waves"]

    def __init__(self, agents, pillar, archives, cli, name=NAME, ports=PORTS):
        self.agents, self.pillar, self.archives, self.cli = agents, pillar, archives, cli
        self.name, self.ports = name, ports
        self._runs = []

    def define(self, app=None, strategy=None, **environment):
        """Write the pillar, with these changes to the app, its strategy, its environment."""
        changes = {
            "apps": {self.name: {"version": "1.0", "instances": 3}},
            "strategy": {**STRATEGY, "waves": self.waves, **(strategy or {})},
            **environment,
        }
        self.pillar.write({self.name: self.app(**(app or {}))}, {"site": apps.environment(self.agents, **changes)})

    def app(self, **changes):
        """Return the app's definition."""
        return self.archives.app(**{"ports": "{}-{}".format(*self.ports), **changes})

    def deploy(self, version, *args, code=0, cli=None):
        """Run ``deploy.app``, which must exit with ``code``; return its output."""
        found, output = (cli or self.cli).deploy("app", self.name, f"version='{version}'", *args)
        assert found == code, output
        return output

    def killed(self, version, step):
        """Run ``deploy.app``, which kills itself at ``step`` (see crash.py), or else exits with 0.

        :returns: the steps that it came to, and whether it was killed.
        """
        path = self.agents.folder / f"steps-{self.name}"
        path.unlink(missing_ok=True)
        arguments = ["-c", self.cli.config_dir, "deploy.app", self.name, f"version='{version}'"]
        command = [REPOSITORY / "tests/support/crash.py", step, path, *arguments]
        run = self.cli.forks.start(list(map(str, command)), salt_environment(), subprocess.PIPE, subprocess.STDOUT)
        output, _ = run.communicate(timeout=240)
        assert run.returncode in (0, -signal.SIGKILL), output
        return path.read_text().splitlines(), run.returncode != 0

    def run(self, function, *args, code=0):
        """Run ``deploy.<function>`` on the app, which must exit with ``code``; return its output."""
        found, output = self.cli.deploy(function, self.name, *args)
        assert found == code, output
        return output

    def call(self, nodes, function, *args):
        """Run an execution module's function on ``nodes``."""
        code, output = self.cli.run("salt", nodes, function, *args)
        assert code == 0, output

    def ask(self, path):
        """Return what Consul answers to a GET request."""
        return self._ask(path)

    def start_over(self, version):
        """Stop all that runs, then deploy ``version`` with its first settings: on the first port of each node."""
        for command in (("saltutil.refresh_pillar", "wait=True"), ("app.stop", self.name, "drain=0")):
            code, output = self.cli.run("salt", "*", *command)
            assert code == 0, output
        for path in self._settings():
            path.unlink()
        self.deploy(version)

    def has_first_settings(self):
        """Return whether all that runs has the settings of the unchanged definition, without a number.

        Nodes forget what they keep of other settings, so that these have none in the next deployment.
        """
        app, running = self.app(), {i for _, i in self.traces().published}
        wanted = {"run": app["run"], "env": {}, "config": {}, "data": False, "memory": "", "cpu": ""}
        for path in self._settings():
            kept, (number, slot) = json.loads(path.read_text()), path.stem.split("-")
            if number != "0" or any(kept[key] != value for key, value in wanted.items()):
                numbered = f"-{number}" if number != "0" else ""
                if f"{self.name}_{path.parent.name}_{slot}{numbered}" in running:
                    return False
                path.unlink()
        return True

    def _settings(self):
        """Return the files of settings that nodes keep."""
        return list(self.agents.folder.glob(f"*/srv/{self.name}/settings/*/*.json"))

    def start(self, version, *args, cli=None):
        """Start ``deploy.app``; return the Run."""
        run = Run((cli or self.cli).start("salt-run", "deploy.app", self.name, f"version='{version}'", *args))
        self._runs.append(run)
        return run

    def end(self):
        """End the runs that a test which failed left behind."""
        while self._runs:
            process = self._runs.pop().process
            if process.poll() is None:
                process.kill()
                process.wait()

    def users(self):
        """Return Users, to be used as a context manager."""
        return self.agents.clients(self.name, "/")

    def traces(self):
        """Return the Traces of this moment, asking any agent that answers."""
        addresses = set(self.agents.nodes.values())
        first, last = self.ports
        return Traces(
            published=self.agents.passing(self.name),
            candidates=set(self.agents.passing(f"{self.name}-candidate", passing=False)),
            listening={
                (address, port)
                for address, port in ((s.address, s.port) for s in sockets.table(sockets.LISTENING))
                if address in addresses and first <= port <= last
            },
            folders={
                (node, path.parent.name)
                for node in self.agents.nodes
                for path in self.agents.folder.glob(f"{node}/srv/{self.name}/instances/*/instance.json")
            },
            record=self._read("current")[0],
            locked=self._read("lock")[2] is not None,
        )

    def history(self):
        """Return the keys of the app's history, the oldest first."""
        with self.agents.backend() as backend:
            return discovery.patiently(lambda: backend.keys(f"deploy/site/{self.name}/history/"), 20)

    def _read(self, key):
        """Return value, index and session of a key. Servers that elect a leader have none yet."""
        with self.agents.backend() as backend:
            return discovery.patiently(lambda: backend.read(f"deploy/site/{self.name}/{key}"), 20)

    def _ask(self, path, missing=(), patience=20):
        """Return what the first agent that has an answer says; servers that elect a leader have none yet."""
        until, said = time.monotonic() + patience, []
        while True:
            for node in self.agents.nodes:
                try:
                    response = requests.get(f"{self.agents.url(node)}{path}", timeout=patience)
                except requests.ConnectionError as exc:
                    said.append(str(exc))
                    continue
                if response.status_code in (200, 404):
                    return missing if response.status_code == 404 else response.json()
                said.append(response.text)
            assert time.monotonic() < until, f"no agent has an answer: {said[-3:]}"
            time.sleep(0.2)


class Run:
    """A command under way, whose output is followed line by line."""

    def __init__(self, process):
        self.process, self.lines = process, []

    def until(self, text, seconds=60):
        """Read until a line has ``text``; an AssertionError shows the output if none comes."""
        for line in self._read(seconds):
            if text in line:
                return self
        raise AssertionError(f"no line with {text!r} within {seconds} s:\n{''.join(self.lines)}")

    def end(self, code, seconds=240):
        """Wait until it ended, with ``code``; return all it printed."""
        for _ in self._read(seconds):
            pass
        output = "".join(self.lines)
        assert self.process.wait() == code, output
        return output

    def _read(self, seconds):
        """Yield lines as they come, until it ends; it is killed after ``seconds``."""
        impatience = threading.Timer(seconds, self.process.kill)
        impatience.start()
        try:
            for line in self.process.stdout:
                self.lines.append(line)
                yield line
        finally:
            impatience.cancel()

    def send(self, number):
        """Send it the signal ``number``."""
        self.process.send_signal(number)
        return self
