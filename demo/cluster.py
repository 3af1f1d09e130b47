"""Three nodes, Consul and Salt on this machine: bring them up, look at them, take them down."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import time
from pathlib import Path

from tooling import ToolError, agents, getconsul, venv
from tooling.commands import environment, run
from tooling.config import CONSUL_DNS, CONSUL_HTTP, consul_config, master_config, minion_config, supervisord_config
from tooling.daemons import Daemon, Daemons, check_free, connections, listener
from tooling.files import write

from . import definitions
from .places import Places

NODES = {"web1": "127.0.0.11", "web2": "127.0.0.12", "web3": "127.0.0.13"}
# Serf and the servers' own are Consul's defaults.
CONSUL_PORTS = (CONSUL_HTTP, CONSUL_DNS, 8300, 8301)
# Not Salt's own ports, which a Salt on this machine may have.
SALT_PORTS = (24505, 24506)
POLL = 0.2
# Seconds until it must be there, on a slow machine.
LEADER, SOCKETS, MASTER, MINIONS, SYNC = 60, 30, 60, 120, 120
LOG_LINES = 15


class Cluster:
    """The demo's processes.

    :param repository: the repository's root.
    :param progress: a Progress.
    """

    def __init__(self, repository, progress):
        self.places, self.progress = Places(repository), progress
        self.daemons = Daemons(self.places.state)

    def up(self):
        """Bring up all that is not up yet. What runs and is what it should be is left alone."""
        self._settle()
        self._end_leftovers()
        self._check_ports()
        self._make_venv()
        self._make_roots()
        self._start_consul(self._get_consul())
        self._start_supervisords()
        self._start_salt()
        self._sync()

    def down(self):
        """Stop everything and wait until it is gone; return the names of the daemons that ran."""
        found = [*self.daemons.find(), *self._stop_moved()]
        names = sorted({p.name or "an interrupted step" for p in found})
        # Consul last: what stops may want to say goodbye to it.
        self.daemons.stop(lambda p: not p.name.startswith("consul"))
        self.daemons.stop()
        self.places.remove_short()
        return names

    def names(self):
        """Return the names of all daemons, in the order in which they are started."""
        return [
            *(f"consul-{n}" for n in NODES),
            *(f"supervisord-{n}" for n in NODES),
            "salt-master",
            *(f"salt-minion-{n}" for n in NODES),
        ]

    def salt(self, command, *arguments):
        """Return the command line of one of Salt's commands against this master."""
        return [str(self.places.venv / "bin" / command), "-c", str(self.places.etc), *arguments]

    # -- the steps ----------------------------------------------------------------------------

    def _settle(self):
        """Take in a state folder that was at another path: releases and sockets have it in them."""
        if self.places.moved_from():
            with self.progress.step(f"The repository was at {self.places.moved_from().parent}: new nodes"):
                self._stop_moved()
        self.places.settle()

    def _stop_moved(self):
        """Stop and return what was started when the state folder was elsewhere."""
        old = self.places.moved_from()
        # One that is still there was copied, and what runs is its own.
        if not old or old.exists():
            return []
        found = Daemons(old).find()
        Daemons(old).stop()
        return found

    def _end_leftovers(self):
        if any(not p.name for p in self.daemons.find()):
            with self.progress.step("Ending what an interrupted run left"):
                self.daemons.stop(lambda p: not p.name)

    def _check_ports(self):
        """Know at once, not after minutes, that somebody else has a port."""
        running = self.daemons.running()
        needed = [(f"consul-{n}", NODES[n], port) for n in NODES for port in CONSUL_PORTS]
        needed += [("salt-master", "127.0.0.1", port) for port in SALT_PORTS]
        for name, address, port in needed:
            if name not in running:
                # What outlived its daemon would have its port.
                self.daemons.stop(lambda p, name=name: p.name == name)
                check_free(address, port, name)

    def _make_venv(self):
        if venv.ready(self.places.venv):
            return
        with self.progress.step("Python packages: Salt, supervisord (about a minute)") as step:
            # They run from it.
            self.daemons.stop(lambda p: p.name.startswith(("salt", "supervisord")))
            venv.make(self.places.venv, step.live)

    def _make_roots(self):
        """Make the file root and the pillar that are the user's own."""
        self.places.files.mkdir(parents=True, exist_ok=True)
        definitions.copy(self.places.repository / "demo/pillar", self.places.pillar)

    def _get_consul(self):
        with self.progress.step("The Consul program") as step:
            program = getconsul.get(self.places.bin, say=step.say, live=step.live)
            step.say(f"{program}")
            warning = getconsul.warning(getconsul.version_of(program))
            if warning:
                step.say(warning)
        return program

    def _start_consul(self, program):
        with self.progress.step(f"Consul servers {', '.join(NODES)}") as step:
            self._start([self._consul(n, program) for n in NODES])
            self._await_leader(step)

    def _start_supervisords(self):
        with self.progress.step(f"supervisord on {', '.join(NODES)}"):
            self._start([self._supervisord(n) for n in NODES])
            for node in NODES:
                self._await(f"supervisord-{node}", self._socket(node).is_socket, "open its socket", SOCKETS)

    def _start_salt(self):
        """Start the master and the minions, all or none: their keys are as short-lived as they are."""
        with self.progress.step(f"Salt master and minions {', '.join(NODES)}") as step:
            master, minions = self._salt_master(), [self._salt_minion(n) for n in NODES]
            if not all(map(self._runs, (master, *minions))):
                self.daemons.stop(lambda p: p.name.startswith("salt-"))
                for folder in (self.places.state / "master", *(self.places.node(n) / "salt" for n in NODES)):
                    shutil.rmtree(folder, ignore_errors=True)
                self._hand_out_keys()
            self._start([master])
            self._await("salt-master", lambda: all(map(listener, SALT_PORTS)), "listen", MASTER)
            # The nodes' pillar is made with the bundle, as soon as they come.
            run(self.salt("salt-run", "--out=quiet", "saltutil.sync_all"), timeout=SYNC)
            self._start(minions)
            self._await_minions(step)

    def _hand_out_keys(self):
        """Make a key for each minion, and put it where the master has those that it accepted. It accepts no other."""
        accepted = self.places.state / "master/pki/minions"
        accepted.mkdir(parents=True)
        for node in NODES:
            folder = self.places.node(node) / "salt/pki"
            folder.mkdir(parents=True)
            run(self.salt("salt-key", "--gen-keys=minion", f"--gen-keys-dir={folder}"), timeout=MASTER)
            shutil.copy(folder / "minion.pub", accepted / node)

    def _sync(self):
        with self.progress.step("The bundle's modules, to the nodes"):
            missing = self._missing("saltutil.sync_all", SYNC)
            if missing:
                log = self._last_lines(f"salt-minion-{missing[0]}")
                raise ToolError(f"saltutil.sync_all: no good answer from {', '.join(missing)}.\n{log}")

    # -- the daemons --------------------------------------------------------------------------

    def _consul(self, node, program):
        version = getconsul.version_of(program)
        folder = self.places.node(node) / f"consul-{version}"
        config = consul_config(node, NODES[node], list(NODES.values()), folder)
        file = self.places.etc / f"consul-{node}.json"
        command = [program, "agent", f"-config-file={file}"]
        return self._daemon(f"consul-{node}", command, file, json.dumps(config, indent=1))

    def _supervisord(self, node):
        folder = self.places.node(node)
        (folder / "programs").mkdir(parents=True, exist_ok=True)
        file = folder / "supervisord.conf"
        text = supervisord_config(folder, self._socket(node), _user() if os.geteuid() == 0 else "")
        return self._daemon(f"supervisord-{node}", [self.places.venv / "bin/supervisord", "-n", "-c", file], file, text)

    def _salt_master(self):
        files = [self.places.files, self.places.repository / "salt"]
        config = master_config(self.places.short() / "master", files, self.places.pillar, _user(), SALT_PORTS)
        return self._salt_daemon("salt-master", config, self.places.etc / "master")

    def _salt_minion(self, node):
        folder = self.places.node(node)
        settings = {
            "root": str(folder / "srv"),
            "runtime": "supervisord",
            "supervisord": {"socket": str(self._socket(node)), "include": str(folder / "programs")},
        }
        root = self.places.short() / "nodes" / node / "salt"
        config = minion_config(node, root, _user(), SALT_PORTS, settings)
        return self._salt_daemon(f"salt-minion-{node}", config, self.places.etc / node / "minion")

    def _salt_daemon(self, name, config, file):
        program = name if name == "salt-master" else "salt-minion"
        command = [self.places.venv / "bin" / program, "-c", file.parent, "--log-level=warning"]
        # JSON is YAML.
        return self._daemon(name, command, file, json.dumps(config, indent=1) + "\n")

    def _daemon(self, name, command, file, text):
        write(file, text)
        program = Path(command[0])
        parts = [*map(str, command), text, str(program.stat().st_size), venv.stamp(self.places.venv)]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return Daemon(name, tuple(command), self.places.log / f"{name}.log", digest)

    def _socket(self, node):
        return self.places.short() / "nodes" / node / "supervisor.sock"

    # -- starting and waiting -----------------------------------------------------------------

    def _runs(self, daemon):
        process = self.daemons.running().get(daemon.name)
        return process is not None and process.digest == daemon.digest

    def _start(self, daemons):
        """Start those that do not run as they should, after stopping what they were."""
        missing = [daemon for daemon in daemons if not self._runs(daemon)]
        names = {daemon.name for daemon in missing}
        self.daemons.stop(lambda p: p.name in names)
        for daemon in missing:
            self.daemons.start(daemon)

    def _await(self, name, ready, what, seconds):
        """Wait until ``ready()``; ToolError with the daemon's last lines if it dies or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if name not in self.daemons.running():
                raise ToolError(f"{name} ended before it could {what}.\n{self._last_lines(name)}")
            if time.monotonic() > deadline:
                raise ToolError(f"{name} did not {what} within {seconds} s.\n{self._last_lines(name)}")
            time.sleep(POLL)

    def _await_leader(self, step):
        deadline = time.monotonic() + LEADER
        while True:
            healthy, leader, trouble = self._consul_state()
            if leader and len(healthy) == len(NODES):
                step.say(f"leader {leader}, healthy: {', '.join(healthy)}")
                return
            running = self.daemons.running()
            dead = [f"consul-{n}" for n in NODES if f"consul-{n}" not in running]
            if dead:
                raise ToolError(f"{dead[0]} ended.\n{self._last_lines(dead[0])}")
            step.live(f"leader: {leader or 'none yet'}, healthy: {', '.join(healthy) or 'none yet'} {trouble}")
            if time.monotonic() > deadline:
                raise ToolError(
                    f"Consul has no leader with three healthy servers after {LEADER} s ({trouble or healthy}).\n"
                    f"{self._last_lines('consul-web1')}\n"
                    "If it cannot read its data: make demo-down, then remove it,"
                    f" {self.places.state}/nodes/*/consul-*, and make demo."
                )
            time.sleep(POLL)

    def _consul_state(self):
        """Return the healthy nodes, the leader as all servers see it, and what is in the way."""
        try:
            leaders = {agents.ask(address, "/v1/status/leader", timeout=2) for address in NODES.values()}
            alive = agents.ask(NODES["web1"], "/v1/health/state/passing", timeout=2)
        except OSError as exc:
            return [], "", f"({exc})"
        healthy = sorted({check["Node"] for check in alive if check["CheckID"] == "serfHealth"} & set(NODES))
        return healthy, leaders.pop() if len(leaders) == 1 else "", ""

    def _await_minions(self, step):
        deadline = time.monotonic() + MINIONS
        missing = list(NODES)
        while True:
            # One that is asked before it is connected costs all of salt's timeouts.
            if connections(SALT_PORTS[0]) >= len(NODES):
                missing = self._missing("test.ping", 10)
            if not missing:
                return
            running = self.daemons.running()
            for name in ("salt-master", *(f"salt-minion-{n}" for n in NODES)):
                if name not in running:
                    raise ToolError(f"{name} ended.\n{self._last_lines(name)}")
            step.live(f"waiting for {', '.join(missing)}")
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{', '.join(missing)} did not answer within {MINIONS} s.\n"
                    f"{self._last_lines(f'salt-minion-{missing[0]}')}\n"
                    "Run `make demo-down` and `make demo` to start Salt anew."
                )
            time.sleep(POLL)

    def _missing(self, function, seconds):
        """Return the nodes that did not answer ``function`` well."""
        command = self.salt("salt", "--out=json", "--static", "-t", str(seconds), "-L", ",".join(NODES), function)
        try:
            replies = json.loads(run(command, timeout=2 * seconds + 30, env=environment(PYTHONWARNINGS="ignore")))
        except (ToolError, ValueError):
            return list(NODES)
        return [n for n in NODES if replies.get(n) in (False, None) or isinstance(replies[n], str)]

    def _last_lines(self, name):
        log = self.places.log / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        return "\n".join([f"The last lines of {log}:", *(f"  {line}" for line in lines or ["(it is empty)"])])


def _user():
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ToolError(f"user id {os.geteuid()} has no name in /etc/passwd, and Salt needs one.") from None
