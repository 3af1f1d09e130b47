"""Hosts: containers that boot a systemd of their own, on a bridge of their own, and what can be done to them.

All that a lab is made of is below one folder in memory, or has a name that begins with ``sdlab``, or
is a process that carries the lab's mark. So whatever a killed run left is found and removed by the
next. Only the unpacked Debian is kept on disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tooling import ToolError, debian
from tooling.commands import run
from tooling.daemons import Daemon, Daemons

from . import base

STATE = Path("/run/saltdeploy-lab")
# Beside it: it is held while something is done to the lab.
LOCK = Path("/run/saltdeploy-lab.lock")
PREFIX = "sdlab"
BRIDGE = f"{PREFIX}0"
NETWORKS = ipaddress.ip_network("10.77.0.0/16")
# Command, and Debian's package of it.
PROGRAMS = {"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap", "ip": "iproute2"}
ENVIRONMENT = (
    "/usr/bin/env",
    "-i",
    "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
# Only a child is in the host's pid namespace, and it is not nsenter's: that would stop, for good, when the host's init
# stops all processes to shut down, and reap none; and a host does not go before they are reaped.
CHILD = ("sh", "-c", '/usr/bin/env "$@"; exit $?', "sh")
# Seconds: for another lab to end; for a host to boot or go; for a command.
OTHERS, BOOT, COMMAND = 300, 120, 60


def lacking():
    """Return what this machine lacks for a lab, in words; empty if nothing."""
    found = [] if os.geteuid() == 0 else ["to be root"]
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if packages:
        found.append(f"apt install {' '.join(packages)}")
    if not (debian.codename(debian.read_os_release()) and shutil.which("apt-get")):
        found.append("to be on Debian")
    return f"real hosts need: {'; '.join(found)}" if found else ""


@dataclass(frozen=True)
class Spec:
    """What a host is made of; made again from it when it is rebuilt.

    :param binds: paths of this machine that it sees, read-only: each a path, or ``source:target``.
    :param files: path in it -> text.
    :param services: name -> command that its init keeps up from boot on.
    :param links: path in it -> where it points.
    """

    name: str
    address: str
    binds: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


class Lab:
    """The network and its hosts, of which there is one on a machine.

    :param wait: seconds to wait where another process is at work on it.
    """

    def __init__(self, wait=0.0):
        self.folder, self.wait = STATE, wait
        self.daemons = Daemons(STATE)
        self._lock = None

    # -- all of it ----------------------------------------------------------------------------

    def __enter__(self):
        """Be the only one who works on it."""
        self._lock = LOCK.open("a+")
        deadline = time.monotonic() + self.wait
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                if time.monotonic() > deadline:
                    self._lock.close()
                    raise ToolError("another process is at work on the lab of this machine: wait for it.") from None
                time.sleep(0.2)

    def __exit__(self, *exc):
        self._lock.close()

    def up(self, cache, addresses, kept=False, environments=(), pillar=""):
        """Make the network for hosts at ``addresses`` (name -> address), with no host on it yet.

        :param cache: the folder that the unpacked Debian is kept in.
        :param kept: it outlives this process, until :meth:`down`.
        :param environments: the names of those whose nodes they are, and ``pillar`` the folder with their files.
        """
        network = _network(addresses)
        self.down()
        STATE.mkdir()
        _do("mount", "-t", "tmpfs", "-o", "mode=0755", "lab", STATE)
        (STATE / "base").mkdir()
        about = {"network": str(network), "addresses": addresses, "kept": kept}
        about.update(environments=list(environments), pillar=str(pillar))
        self._remember({**about, "hosts": {}})
        _do("mount", "--bind", base.get(Path(cache), STATE), STATE / "base")
        _do("ip", "link", "add", BRIDGE, "type", "bridge")
        _do("ip", "address", "add", f"{network[1]}/{network.prefixlen}", "dev", BRIDGE)
        _do("ip", "link", "set", BRIDGE, "up")

    def down(self):
        """Remove all of it: this lab, or what a killed one left. Return the names of the hosts that ran."""
        found = sorted(self.daemons.running())
        self.daemons.stop()
        for mount in reversed(_mounts(STATE)):
            # The kernel ends a host's own view of it a moment after the host.
            wait_for(lambda mount=mount: _succeeds("umount", mount), BOOT, f"{mount} to be unused")
        if STATE.is_dir():
            shutil.rmtree(STATE)
        # The hosts' interfaces, too: one that was killed in the middle of a reboot may leave its own.
        for link in sorted(Path("/sys/class/net").glob(f"*{PREFIX}*")):
            _succeeds("ip", "link", "delete", link.name)
        return found

    @property
    def facts(self):
        """What it was made with; ToolError if there is none."""
        try:
            return json.loads((STATE / "lab.json").read_text())
        except FileNotFoundError:
            raise ToolError("there is no lab: make lab") from None

    @property
    def kept(self):
        """Whether there is a lab that somebody made to be kept."""
        return (STATE / "lab.json").exists() and self.facts["kept"]

    @property
    def gateway(self):
        """The address of this machine in the network."""
        return str(ipaddress.ip_network(self.facts["network"])[1])

    # -- hosts --------------------------------------------------------------------------------

    def add(self, spec):
        """Make a host, blank and not booted; return it."""
        facts = self.facts
        facts["hosts"][spec.name] = asdict(spec)
        self._remember(facts)
        host = Host(self, spec)
        host.make()
        return host

    def host(self, name):
        """Return the Host ``name``."""
        hosts = self.facts["hosts"]
        if name not in hosts:
            raise ToolError(f"the lab has no host {name!r}. There are: {', '.join(hosts)}")
        return Host(self, Spec(**hosts[name]))

    def hosts(self):
        """Return all Hosts."""
        return [self.host(name) for name in self.facts["hosts"]]

    def _remember(self, facts):
        (STATE / "lab.json").write_text(json.dumps(facts, indent=1))


class Host:
    """A Debian host with an init, an address and accounts of its own. What it writes survives a reboot."""

    def __init__(self, lab, spec):
        self.lab, self.spec, self.name, self.address = lab, spec, spec.name, spec.address
        self.folder = STATE / "hosts" / spec.name
        self.root, self.console = self.folder / "root", self.folder / "console"

    def make(self):
        """Make it: Debian, its address, and what its Spec says."""
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True)
        layers = f"lowerdir={STATE}/base,upperdir={self.folder}/upper,workdir={self.folder}/work"
        _do("mount", "-t", "overlay", "-o", layers, "lab", self.root)
        facts = self.lab.facts
        prefix = ipaddress.ip_network(facts["network"]).prefixlen
        # Without the rest it waits long for a router to speak IPv6 with.
        network = f"Address={self.address}/{prefix}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        self.write("etc/systemd/network/10-host0.network", f"[Match]\nName=host0\n[Network]\n{network}")
        names = "".join(f"{address} {host}\n" for host, address in facts["addresses"].items())
        self.write("etc/hostname", f"{self.name}\n")
        self.write("etc/hosts", f"127.0.0.1 localhost\n{names}")
        for path, text in self.spec.files.items():
            self.write(path, text)
        for path, target in self.spec.links.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).symlink_to(target)
        for name, command in self.spec.services.items():
            self._service(name, command)

    def write(self, path, text):
        """Write a file of the host; below ``/tmp`` and ``/run`` it would not see it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _service(self, name, command):
        self.write(
            f"etc/systemd/system/{name}.service",
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n"
            f"[Service]\nExecStart={command}\nRestart=always\nRestartSec=1\nTimeoutStopSec=3\nKillMode=process\n"
            "[Install]\nWantedBy=multi-user.target\n",
        )
        _do("chroot", self.root, "systemctl", "--quiet", "enable", f"{name}.service")

    # -- what can be done to it ---------------------------------------------------------------

    def boot(self):
        """Boot, and wait until all that is started at boot was."""
        self.start()
        self.await_boot()

    def start(self):
        """Begin to boot."""
        # An interface outlives its host for a moment, and its successor's has the same name.
        wait_for(
            lambda: _ports() <= len(self.lab.daemons.running()), BOOT, "the interface of a host that is gone to go"
        )
        command = [
            *("systemd-nspawn", "--boot", "--quiet", f"--directory={self.root}"),
            *(f"--machine={PREFIX}-{self.name}", f"--hostname={self.name}", f"--network-bridge={BRIDGE}"),
            *("--console=passive", "--register=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            # Where no systemd is, none can make it a unit of its own.
            *([] if os.path.isdir("/run/systemd/system") else ["--keep-unit"]),
            *(f"--bind-ro={bind}" for bind in self.spec.binds),
        ]
        self.lab.daemons.start(Daemon(self.name, tuple(command), self.console, "lab"))

    def await_boot(self):
        """Wait until all that is started at boot was."""

        def booted():
            if not self.runs():
                raise ToolError(f"{self.name} does not boot:\n{self.console.read_text(errors='replace')[-2000:]}")
            state = self._init() and self.attempt("systemctl", "is-system-running")[1].strip()
            return state in ("running", "degraded")

        wait_for(booted, BOOT, f"{self.name} to boot")

    def stop(self):
        """Shut it down in order, and wait until it is gone."""
        if self._init():
            self.attempt("systemctl", "poweroff")
        wait_for(lambda: not self.runs(), BOOT, f"{self.name} to shut down")

    def kill(self):
        """Cut its power: all its processes are gone at once, and nothing was told."""
        init = self._init()
        if init:
            # The end of a pid namespace's init is the end of all that is in it, without a word.
            os.kill(init, 9)
        self.lab.daemons.stop(lambda process: process.name == self.name)

    def reboot(self):
        """Reboot it by its own init, and wait until all that is started at boot was."""
        before = self._init()
        self.run("systemctl", "reboot")
        # A systemd-nspawn that is no unit of its own ends, rather than boot again.
        wait_for(lambda: not self.runs() or self._init() not in (None, before), BOOT, f"{self.name} to go down")
        if self.runs():
            self.await_boot()
        else:
            self.boot()

    def rebuild(self):
        """Make it anew, blank, in place of what it was, and boot it."""
        self.kill()
        wait_for(lambda: _succeeds("umount", self.root), BOOT, f"{self.root} to be unused")
        shutil.rmtree(self.folder)
        self.make()
        self.boot()

    def cut(self, *others):
        """Cut it off from the hosts ``others`` (names), both ways; from the network, if none is named."""
        for other in map(self.lab.host, others):
            self.run("ip", "route", "replace", "blackhole", f"{other.address}/32")
            other.run("ip", "route", "replace", "blackhole", f"{self.address}/32")
        if not others:
            self.run("ip", "link", "set", "host0", "down")

    def heal(self):
        """End what :meth:`cut` did."""
        self.run("ip", "link", "set", "host0", "up")
        for line in self.run("ip", "route", "show", "type", "blackhole").splitlines():
            self.run("ip", "route", "delete", "blackhole", line.split()[1])
        for other in self.lab.hosts():
            if other.runs() and other.name != self.name:
                other.attempt("ip", "route", "delete", "blackhole", f"{self.address}/32")

    def attempt(self, *command, timeout=COMMAND):
        """Run a command in it as root; return ``(exit code, what it printed, errors too)``."""
        code, output, errors = self._run(command, timeout)
        return code, output + errors

    def run(self, *command, timeout=COMMAND):
        """Run a command in it as root, which must end well; return what it printed, without its errors."""
        code, output, errors = self._run(command, timeout)
        if code:
            raise ToolError(f"{self.name}: {' '.join(map(str, command))}: exit code {code}: {output}{errors}")
        return output

    def _run(self, command, timeout):
        process = self.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as exc:
            raise ToolError(f"{self.name}: {' '.join(map(str, command))}: not done after {timeout:g} s") from exc
        finally:
            process.kill()
        return process.returncode, output, errors

    def popen(self, *command, **options):
        """Start a command in it as root; return the Popen."""
        options = {"stdin": subprocess.DEVNULL, "text": True, **options}
        return subprocess.Popen(list(map(str, [*self.entry(), *command])), **options)

    def entry(self):
        """Return the words that make the command after them run in it, as root."""
        init = self._init()
        if not init:
            raise ToolError(f"{self.name} is not up")
        enter = ["nsenter", "--no-fork", f"--target={init}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        return [*enter, *ENVIRONMENT, *CHILD]

    def runs(self):
        """Whether it is on."""
        return self.name in self.lab.daemons.running()

    def _init(self):
        """Return the pid of its init on this machine; None while there is none."""
        process = self.lab.daemons.running().get(self.name)
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text() if process else ""
            # What systemd-nspawn makes its namespaces with is a child, too, for a moment.
            return next((int(c) for c in children.split() if Path(f"/proc/{c}/comm").read_text() == "systemd\n"), None)
        return None


def free_addresses(names, first=11):
    """Return an address for each of ``names`` in a network that this machine knows nothing of."""
    network = next(n for n in NETWORKS.subnets(new_prefix=24) if not _overlaps(n))
    return {name: str(network[first + i]) for i, name in enumerate(names)}


def _network(addresses):
    """Return the network of 256 addresses that all hosts are in.

    :raises ToolError: there is none, or it is not free for this.
    """
    for name, address in addresses.items():
        if ":" in address:
            raise ToolError(f"a lab's network is IPv4, and {name} has {address}: give it an IPv4 address")
    networks = {ipaddress.ip_network(f"{address}/24", strict=False) for address in addresses.values()}
    if len(networks) != 1:
        raise ToolError(f"a lab's nodes must be in one network of 256 addresses; found {', '.join(map(str, networks))}")
    [network] = networks
    if str(network[1]) in addresses.values():
        raise ToolError(f"{network[1]} is for this machine, in a lab: give the node another address")
    if _overlaps(network):
        raise ToolError(
            f"this machine has a route into {network} already: give the environment's nodes other addresses"
        )
    return network


def _overlaps(network):
    """Whether this machine is in ``network``, or has a route to it, but for a lab's."""
    routes = json.loads(_do("ip", "-json", "-4", "route", "show", "table", "all"))
    used = [r["dst"] for r in routes if r["dst"][0].isdigit() and r.get("dev") != BRIDGE]
    return any(network.overlaps(ipaddress.ip_network(dst)) for dst in used)


def _ports():
    """Return how many interfaces of hosts are on the bridge."""
    return len(json.loads(_do("ip", "-json", "link", "show", "master", BRIDGE)))


def _mounts(folder):
    """Return what is mounted on ``folder`` or below, in the order in which it was."""
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if folder in (point, *point.parents)]


def wait_for(true, seconds, what):
    """Wait until ``true()`` holds, for ``seconds`` at most. Raises ToolError that ``what`` did not come.

    It rests as long as it looks, because what it waits for needs the processors, too; but for a second at most.
    """
    deadline = time.monotonic() + seconds
    looked = time.monotonic()
    while not true():
        now = time.monotonic()
        if now > deadline:
            raise ToolError(f"waited {seconds:g} s for {what}")
        time.sleep(min(max(0.1, now - looked), 1.0))
        looked = time.monotonic()


def _do(*command):
    return run(command, timeout=COMMAND)


def _succeeds(*command):
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
