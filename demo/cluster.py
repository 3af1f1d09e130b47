"""Three nodes, service discovery and Salt on this machine: bring them up, look at them, take them down."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import time

from tooling import ToolError, venv
from tooling.commands import environment, run
from tooling.config import master_config, minion_config, supervisord_config
from tooling.daemons import Daemons, check_free, connections, listener

from . import consul, definitions, skydns
from .places import NODES, Places
from .processes import POLL, Processes

DISCOVERIES = {"consul": consul.Consul, "skydns": skydns.SkyDNS}
# The daemons that run on while others stop, step by step: what stops may want to say goodbye to them.
STOPPED_LATER = (("consul", "etcd", "health", "coredns"), ("consul", "etcd"), ())
# Not Salt's own ports, which a Salt on this machine may have.
SALT_PORTS = (24505, 24506)
# Seconds until it must be there, on a slow machine.
SOCKETS, MASTER, MINIONS, SYNC = 30, 60, 120, 120


class Cluster:
    """The demo's processes.

    :param repository: the repository's root.
    :param progress: a Progress.
    :param discovery: a key of DISCOVERIES; None: the last one that was used.
    """

    def __init__(self, repository, progress, discovery=None):
        self.places, self.progress = Places(repository), progress
        self.processes = Processes(self.places)
        self.daemons = self.processes.daemons
        self._kind = discovery or self.places.discovery() or "consul"
        self.discovery = DISCOVERIES[self._kind](self.processes)

    def up(self):
        """Bring up all that is not up yet. What runs and is what it should be is left alone."""
        self.discovery.require()
        self._settle()
        self._end_leftovers()
        self._check_ports()
        self._make_venv()
        self._make_roots()
        self.discovery.get(self.progress)
        self.discovery.start(self.progress)
        self._start_supervisords()
        self._start_salt()
        self._sync()

    def down(self):
        """Stop everything and wait until it is gone; return the names of the daemons that ran."""
        found = [*self.daemons.find(), *self._stop_moved()]
        names = sorted({p.name or "an interrupted step" for p in found})
        self._stop_all()
        self.places.remove_short()
        return names

    def names(self):
        """Return the names of all daemons, in the order in which they are started."""
        return [
            *self.discovery.names(),
            *(f"supervisord-{n}" for n in NODES),
            "salt-master",
            *(f"salt-minion-{n}" for n in NODES),
        ]

    @property
    def command(self):
        """How its user brings it up."""
        return "make demo" if self._kind == "consul" else f"make demo DISCOVERY={self._kind}"

    def salt(self, command, *arguments):
        """Return the command line of one of Salt's commands against this master."""
        return [str(self.places.venv / "bin" / command), "-c", str(self.places.etc), *arguments]

    # -- the steps ----------------------------------------------------------------------------

    def _settle(self):
        """Take in a state folder that was at another path: releases and sockets have it in them."""
        if self.places.moved_from():
            with self.progress.step(f"The repository was at {self.places.moved_from().parent}: new nodes"):
                self._stop_moved()
        before = self.places.discovery()
        if before and before != self._kind:
            with self.progress.step(f"The demo had {DISCOVERIES[before].title}: new nodes"):
                self._stop_all()
        self.places.settle(self._kind)

    def _stop_all(self):
        for kept in STOPPED_LATER:
            self.daemons.stop(lambda p, kept=kept: not p.name.startswith(kept))

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
        needed = [(f"{kind}-{n}", NODES[n], port) for kind, port in self.discovery.ports for n in NODES]
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
            self.daemons.stop(lambda p: p.name.startswith(("salt", "supervisord", "health")))
            venv.make(self.places.venv, step.live)

    def _make_roots(self):
        """Make the file root and the pillar that are the user's own."""
        self.places.files.mkdir(parents=True, exist_ok=True)
        definitions.copy(self.places.repository / "demo/pillar", self.places.pillar)
        path = self.places.pillar / definitions.FILE
        if definitions.set_discovery(path, self.places.repository / "demo" / self.discovery.definition):
            self.progress.say(f"{path} has `discovery: {{{self._kind}: …}}` now")

    def _start_supervisords(self):
        with self.progress.step(f"supervisord on {', '.join(NODES)}"):
            self.processes.start([self._supervisord(n) for n in NODES])
            for node in NODES:
                self.processes.wait(f"supervisord-{node}", self._socket(node).is_socket, "open its socket", SOCKETS)

    def _start_salt(self):
        """Start the master and the minions, all or none: their keys are as short-lived as they are."""
        with self.progress.step(f"Salt master and minions {', '.join(NODES)}") as step:
            master, minions = self._salt_master(), [self._salt_minion(n) for n in NODES]
            if not all(map(self.processes.runs, (master, *minions))):
                self.daemons.stop(lambda p: p.name.startswith("salt-"))
                for folder in (self.places.state / "master", *(self.places.node(n) / "salt" for n in NODES)):
                    shutil.rmtree(folder, ignore_errors=True)
                self._hand_out_keys()
            self.processes.start([master])
            self.processes.wait("salt-master", lambda: all(map(listener, SALT_PORTS)), "listen", MASTER)
            # The nodes' pillar is made with the bundle, as soon as they come.
            run(self.salt("salt-run", "--out=quiet", "saltutil.sync_all"), timeout=SYNC)
            self.processes.start(minions)
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
                log = self.processes.last_lines(f"salt-minion-{missing[0]}")
                raise ToolError(f"saltutil.sync_all: no good answer from {', '.join(missing)}.\n{log}")

    # -- the daemons --------------------------------------------------------------------------

    def _supervisord(self, node):
        folder = self.places.node(node)
        (folder / "programs").mkdir(parents=True, exist_ok=True)
        file = folder / "supervisord.conf"
        text = supervisord_config(folder, self._socket(node), _user() if os.geteuid() == 0 else "")
        command = [self.places.venv / "bin/supervisord", "-n", "-c", file]
        return self.processes.daemon(f"supervisord-{node}", command, file, text)

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
        return self.processes.daemon(name, command, file, json.dumps(config, indent=1) + "\n")

    def _socket(self, node):
        return self.places.short() / "nodes" / node / "supervisor.sock"

    # -- waiting ------------------------------------------------------------------------------

    def _await_minions(self, step):
        deadline = time.monotonic() + MINIONS
        missing = list(NODES)
        while True:
            # One that is asked before it is connected costs all of salt's timeouts.
            if connections(SALT_PORTS[0]) >= len(NODES):
                missing = self._missing("test.ping", 10)
            if not missing:
                return
            self.processes.check(["salt-master", *(f"salt-minion-{n}" for n in NODES)])
            step.live(f"waiting for {', '.join(missing)}")
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{', '.join(missing)} did not answer within {MINIONS} s.\n"
                    f"{self.processes.last_lines(f'salt-minion-{missing[0]}')}\n"
                    f"Run `make demo-down` and `{self.command}` to start Salt anew."
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


def _user():
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ToolError(f"user id {os.geteuid()} has no name in /etc/passwd, and Salt needs one.") from None
