"""A whole site on this machine: Consul servers, supervisords, a Salt master and its minions, all real."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests
import yaml
from saltdeploy import discovery
from saltdeploy.core import addresses

from tooling import agents as tools
from tooling.config import CONSUL_DNS, consul_config, supervisord_config
from tooling.daemons import Daemon, Daemons
from tooling.requestloop import RequestLoop

from .forked import STARTUP, Forks

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
# Tests that run beside others have their nodes elsewhere.
NETWORK = os.environ.get("SALTDEPLOY_TEST_NETWORK", "127.0.1")
NODES = {f"web{i}": f"{NETWORK}.1{i}" for i in (1, 2, 3)}


class Users(RequestLoop):
    """Users who ask another agent when one is down, and take what it knew last while there is no leader (as DNS does).

    A server that was started again tells a stale read what it had on its disk, until it has caught up: they do not go
    back to an older answer than they had (Consul's index only grows).
    """

    pause, _index = 0.2, 0

    def _find(self):
        for mode in ("", "&stale"):
            for address in self.agents:
                try:
                    found, index = tools.ask_with_index(
                        address, f"/v1/health/service/{self.service}?passing{mode}", 1.0
                    )
                except OSError:
                    continue
                if index < self._index:
                    continue
                self._index = index
                if not found:
                    raise OSError(f"{address} knows no healthy instance")
                service = found[self.total % len(found)]["Service"]
                return service["Address"], service["Port"], service["Meta"]["version"]
        raise OSError("no agent answers")


class Agents:
    """A Consul agent and a supervisord for each node; stopped and started by name.

    :param folder: a short path: sockets are in it.
    :param consul: the Consul binary.
    :param nodes: name -> address. The first three are servers.
    """

    # Where DNS has the services, and who answers on a node, in messages.
    domain, speaks = "service.consul", "Consul"

    def __init__(self, folder, consul, nodes=NODES):
        self.folder, self.consul, self.nodes = Path(folder), consul, nodes
        self.servers = dict(itertools.islice(nodes.items(), 3))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.daemons = Daemons(self.folder)

    def url(self, node):
        return f"http://{addresses.join(self.nodes[node], 8500)}"

    @property
    def discovery(self):
        """The ``discovery`` of an environment with these nodes."""
        return {"consul": {"agent": "http://{address}:8500", "servers": [self.url(node) for node in self.servers]}}

    def backend(self, node=None):
        """Return a connection to discovery, as the master has it, or as ``node`` has it."""
        settings = {kind: {**about, "environment": "site"} for kind, about in self.discovery.items()}
        return discovery.connect(settings, node and self.nodes[node])

    def addresses(self, service):
        """Return the addresses that DNS on the first node answers for a service."""
        return set(tools.resolve(f"{service}.{self.domain}", tools.A, next(iter(self.nodes.values())), CONSUL_DNS))

    def clients(self, service, path):
        """Return Users of a service, to be used as a context manager."""
        return Users(self.nodes.values(), service, path)

    def start(self):
        for node in self.nodes:
            self.start_supervisord(node)
            self.start_agent(node)
        self.await_leader()

    def stop(self):
        self.daemons.stop()

    @contextlib.contextmanager
    def running(self):
        """Yield these agents, started. Stop them afterwards, also if one of them could not start."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def start_agent(self, node):
        config = consul_config(node, self.nodes[node], list(self.servers.values()), self.folder / node / "consul")
        # Three servers share two cores with all the rest: a late heartbeat is no lost leader.
        config["performance"] = {"raft_multiplier": 2}
        path = self.folder / node / "consul.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config))
        self._start(f"consul-{node}", [self.consul, "agent", f"-config-file={path}"])

    def start_supervisord(self, node):
        folder = self.folder / node
        (folder / "programs").mkdir(parents=True, exist_ok=True)
        user = "root" if os.geteuid() == 0 else ""
        (folder / "supervisord.conf").write_text(supervisord_config(folder, folder / "sock", user))
        command = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", folder / "supervisord.conf"]
        self._start(f"supervisord-{node}", command)
        until(lambda: (folder / "sock").exists(), 20, f"supervisord of {node} to listen")

    def stop_agent(self, *nodes):
        names = [f"consul-{n}" for n in nodes]
        self.daemons.stop(lambda process: process.name in names)

    def await_leader(self):
        """Wait until every agent answers a consistent read, and all nodes are seen alive."""

        def settled():
            for node in self.nodes:
                health = requests.get(f"{self.url(node)}/v1/health/node/{node}?consistent", timeout=10).json()
                if not health or {c["Status"] for c in health} != {"passing"}:
                    return False
            return True

        until(settled, 60, "Consul to have a leader and healthy nodes")

    def settings(self, node):
        """Return the ``saltdeploy`` settings of the minion ``node``."""
        folder = self.folder / node
        return {
            "root": str(folder / "srv"),
            "runtime": "supervisord",
            "supervisord": {"socket": str(folder / "sock"), "include": str(folder / "programs")},
        }

    def passing(self, service, passing=True):
        """Return ``{(minion, instance id): (address, port, version)}`` of what users find.

        :param passing: False: of all that is registered.
        """
        with self.backend() as backend:
            found = discovery.patiently(lambda: backend.instances(service, passing), 20)
        return {(e.minion, e.id): (e.address, e.port, e.meta.get("version")) for e in found}

    def _start(self, name, command):
        self.daemons.start(Daemon(name, tuple(map(str, command)), self.folder / f"{name}.log", "test"))


class Pillar:
    """The pillar that the master serves: the repository's own loaders over definitions of the test."""

    def __init__(self, folder, master_id):
        self.folder = Path(folder)
        for name in ("apps", "environments"):
            (self.folder / name).mkdir(parents=True)
        for name in ("environments/all.sls", "environments/own.sls", "apps/init.sls"):
            shutil.copy(REPOSITORY / "pillar" / name, self.folder / name)
        top = {"base": {master_id: ["apps", "environments.all"], "*": ["apps", "environments.own"]}}
        self._write("top.sls", top)

    def write(self, apps, environments):
        """Replace all definitions."""
        self._write("apps/of_test.sls", {"apps": apps})
        self._write("environments/of_test.sls", {"environments": environments})

    def _write(self, name, data):
        path = self.folder / name
        partial = path.with_suffix(".partial")
        partial.write_text(yaml.safe_dump(data))
        partial.rename(path)


def salt_environment():
    """Return the environment for Salt's commands and daemons.

    They keep compiled what they have synced, as on anybody's master: else each job compiles all of the bundle anew.
    """
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(STARTUP)}


class Cli:
    """Salt's commands as a person runs them: exit code and output as they are."""

    forks = Forks()

    def __init__(self, config_dir, scripts=SCRIPTS):
        self.config_dir, self.scripts = str(config_dir), scripts

    def start(self, command, *args, **kwargs):
        """Start a command in a session of its own, its output in a pipe; return the Popen, or a Fork like it."""
        # On a busy machine, a minion may be too late to say that its job still runs.
        patience = ["--timeout=60"] if command == "salt" else []
        words = [str(word) for word in (self.scripts / command, "-c", self.config_dir, *patience, *args)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": salt_environment(), **kwargs}
        if self.scripts == SCRIPTS and kwargs.keys() <= {"stderr"}:
            return self.forks.start(words, options["env"], options["stdout"], options["stderr"])
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, text=True, start_new_session=True, **options)

    def run(self, command, *args, timeout=240):
        """Run a command to its end; return ``(exit code, output)``."""
        process = self.start(command, *args)
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output

    def deploy(self, function, *args, timeout=240):
        """Run ``salt-run deploy.<function>``; return ``(exit code, output)``."""
        return self.run("salt-run", f"deploy.{function}", *args, timeout=timeout)

    def result(self, function, *args, code=0):
        """Run ``salt-run deploy.<function>``, which must exit with ``code``; return its result as data."""
        found, text = self.deploy(function, "--out=json", *args)
        assert found == code, text
        return last_document(text)


def last_document(text):
    """Return the last of the JSON documents that ``--out=json`` prints: the result, after the progress."""
    decoder, document = json.JSONDecoder(), None
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
    return document


def kill(pid):
    """Kill a process and all its children, which have no time to clean up."""
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def until(true, seconds, what):
    """Wait until ``true()``; an AssertionError says what was waited for.

    It rests as long as it looks, because what it waits for needs the processors, too; but for a second at most.
    """
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        looked = time.monotonic()
        try:
            if true():
                return
            last = None
        except (requests.RequestException, ValueError, OSError) as exc:
            last = exc
        time.sleep(min(max(0.1, time.monotonic() - looked), 1.0))
    raise AssertionError(f"waited {seconds} s for {what}" + (f": {last}" if last else ""))
