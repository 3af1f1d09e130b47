"""What is on a node: releases, instances, ports. Everything is under one root folder.

::

    <root>/.lock                                   taken while a port is chosen
    <root>/.validated                              digest of the definitions that were found valid last
    <root>/<app>/.lock                             taken while instances are published, stopped or brought back
    <root>/<app>/.starting, .ended                 taken while instances are started; the deployments that ended last
    <root>/<app>/releases/<version>                link to .<version>@<random>/files; whole or absent
    <root>/<app>/instances/<id>/instance.json      which release, port, deployment; tested or not
    <root>/.downloads/                             what was fetched over HTTP: see artifacts
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

from . import disk, names, sources, validation
from .artifacts import Artifacts
from .errors import Failed, Refused
from .model import Instance, instance_id
from .words import name as said

DEFAULT_ROOT = "/srv/saltdeploy"
# What instances belong to that somebody or a state starts, or that were brought back: these never end.
MANUAL, STATE, RESTORED = "manual", "state", "restored"
NOBODY = (None, "", MANUAL, STATE, RESTORED)
# How many deployments that have ended are remembered: more than have a job on its way still.
ENDED = 20
# States of a socket in proc(5), /proc/net/tcp.
ESTABLISHED, LISTENING = "01", "0A"


class Host:
    """This node's folder of releases and instances.

    :param node: the minion's id.
    :param root: the folder, made when first needed.
    """

    def __init__(self, node, root=DEFAULT_ROOT):
        self.node, self.root = node, Path(root)

    def validate(self, definitions):
        """Validate ``definitions``, unless these were found valid here before: it takes longer than most jobs do."""
        remembered, digest = self.root / ".validated", validation.digest(definitions)
        with contextlib.suppress(OSError):
            if remembered.read_text() == digest:
                return
        validation.validate_again(definitions)
        with contextlib.suppress(OSError):  # it is validated again, then
            write_file(remembered, digest)

    # -- releases -----------------------------------------------------------------------------

    def release(self, app, version):
        """Return the path of an installed release (it may not exist)."""
        return self.root / names.app(app) / "releases" / names.version(version)

    def releases(self, app):
        """Return the versions of ``app`` that are installed, in the order in which they were."""
        folder = self.root / names.app(app) / "releases"
        links = [p for p in folder.iterdir() if p.is_symlink()] if folder.is_dir() else []
        return [p.name for p in sorted(links, key=lambda p: (p.lstat().st_mtime_ns, p.name))]

    def installed(self, app, version):
        """Return whether this very release is installed.

        :raises Refused: another one is, under the same version.
        """
        release = self.release(app.name, version)
        if not release.is_dir():
            return False
        recorded = json.loads((release.resolve().parent / "release.json").read_text())
        wanted = sources.origin(app.source, version)
        changed = ", ".join(k for k in wanted if recorded["origin"].get(k, wanted[k]) != wanted[k])
        if changed:
            raise Refused(
                f"{app.name} {version} is installed on {self.node} from another source ({changed} changed): a release"
                " never changes. Give the new content a new version, or `app.remove` this one first."
            )
        return True

    def install(self, app, version, fetch):
        """Install a release; return whether anything was done.

        :raises Failed: it could not be; of the release nothing is left then, of a download what the next try goes on
            with, unless it was the disk that is full.
        """
        folder = self.release(app.name, version).parent
        with self._telling(app, version):
            folder.mkdir(parents=True, exist_ok=True)
            return self._install(app, version, folder, fetch)

    def _install(self, app, version, folder, fetch):
        with _locked(folder / ".lock"):
            if self.installed(app, version):
                return False
            # A version holds no "@": what an install of 1.0 throws away is never the release 1.0-rc1.
            for partial in folder.glob(f".{version}@*"):
                shutil.rmtree(partial)
            artifacts = Artifacts(self.root, app.name, folder)
            build = Path(tempfile.mkdtemp(prefix=f".{version}@", dir=folder))
            try:
                with artifacts:
                    self._build(app, version, build, fetch, artifacts)
            except BaseException as exc:
                shutil.rmtree(build)
                if isinstance(exc, Exception):  # what was interrupted will go on
                    artifacts.tidy(self._made_of(), parts=False)
                raise
            artifacts.tidy(self._made_of())
        return True

    def _build(self, app, version, build, fetch, artifacts):
        files = build / "files"
        files.mkdir()
        build.chmod(0o755)
        digest = sources.build(app.source, version, files, fetch, artifacts)
        origin = sources.origin(app.source, version)
        record = {"app": app.name, "version": version, "origin": origin, "artifact": digest}
        write_file(build / "release.json", json.dumps(record, indent=1))
        os.sync()
        link = build / "link"
        link.symlink_to(Path(build.name) / "files")
        link.rename(self.release(app.name, version))

    def room(self, app, version, fetch):
        """Do nothing if there is room for a release, or it is installed; nothing is changed.

        :raises Failed: there is not.
        """
        if self.installed(app, version):
            return
        artifacts = Artifacts(self.root, app.name, self.release(app.name, version).parent)
        with self._telling(app, version), tempfile.TemporaryDirectory() as folder:
            sources.room(app.source, version, Path(folder), fetch, artifacts)

    @contextlib.contextmanager
    def _telling(self, app, version):
        """Make Failed, naming release and node, of what a file system says."""
        try:
            yield
        except OSError as exc:
            raise Failed(f"{app.name} {version} cannot be installed on {self.node}: {self._said(exc)}") from exc

    def _said(self, exc):
        if isinstance(exc, disk.NoRoom) or not disk.is_full(exc):
            return str(exc)
        free = disk.human(disk.space(self.root).free)
        return f"{exc}. In {self.root} {free} are free, now that what was begun is removed again: make room there."

    def _made_of(self):
        """Return the digests of the archives that the releases of all apps are made of."""
        found = set()
        for link in self.root.glob("*/releases/*"):
            with contextlib.suppress(OSError, ValueError):  # somebody's file, or another job has just removed it
                found.add(json.loads((link.resolve().parent / "release.json").read_text()).get("artifact"))
        return found

    # -- data ---------------------------------------------------------------------------------

    def data(self, app):
        """Return the path of the folder in which ``app`` keeps its data (it may not exist)."""
        return Path(app.data) if isinstance(app.data, str) else self.root / names.app(app.name) / "data"

    def has_data(self, app):
        """Return whether there is anything in the data folder of ``app``."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.data(app)) as entries:
            return bool(app.data) and any(entries)
        return False

    def make_data(self, app, owner=None):
        """Make the data folder of ``app``, which nothing of ours ever removes.

        :param owner: ``(uid, gid)`` of the app's user, where this process may give files away.
        :raises Refused: it is there, and is no folder of that user.
        """
        folder = self.data(app)
        if not os.path.lexists(folder):
            partial = folder.with_name(f".{folder.name}.partial")
            partial.mkdir(parents=True, exist_ok=True)
            partial.chmod(0o750)
            if owner:
                os.chown(partial, *owner)
            partial.rename(folder)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise Refused(f"{folder} on {self.node} is no folder: the data of {app.name} cannot be kept there.")
        if owner and found.st_uid != owner[0]:
            raise Refused(
                f"{folder} on {self.node} is not owned by {app.user}, whose data {app.name} keeps there: look what it"
                f" is, then chown -R {app.user} {folder}"
            )

    def remove_release(self, app, version):
        """Remove a release; return whether there was one. Refused while an instance runs it."""
        used = [i.id for i in self.instances(app) if i.version == version]
        if used:
            raise Refused(f"{app} {version} is in use on {self.node} by {', '.join(used)}: stop that first.")
        release = self.release(app, version)
        if not release.is_symlink():
            return False
        build = release.resolve().parent
        release.unlink()
        shutil.rmtree(build)
        Artifacts(self.root, app, release.parent).tidy(self._made_of())
        return True

    # -- turns --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self, app, deployment=None, after=None):
        """Hold off other jobs that change what users find of ``app``: one may outlast the run that sent it.

        :param deployment: whose step this is.
        :param after: whose steps this undoes. It ends here at once: what waits for its turn, too, is refused then, and
            what has its turn is undone in the next one.
        :raises Failed: ``deployment`` has ended here: its step was overtaken by the way back.
        """
        self.end(app, after)
        with _locked(self._home(app) / ".lock"):
            self._refuse_ended(app, deployment)
            yield

    @contextlib.contextmanager
    def starting(self, app, deployment):
        """Hold off the end of ``deployment`` while it starts instances of ``app``; Failed if it has ended here.

        What is started is tested outside of this, for longer than the way back should have to wait.
        """
        with _locked(self._home(app) / ".starting"):
            self._refuse_ended(app, deployment)
            yield

    def end(self, app, deployment):
        """Have nothing done for ``deployment`` any more, unless it is nobody's."""
        if deployment not in NOBODY:
            with _locked(self._home(app) / ".starting"):
                others = [other for other in self.ended(app) if other != deployment]
                write_file(self._home(app) / ".ended", json.dumps([*others, deployment][-ENDED:]))

    def ended(self, app):
        """Return the deployments of ``app`` that ended here, the last one last."""
        try:
            found = json.loads((self._home(app) / ".ended").read_text())
        except (FileNotFoundError, ValueError):  # its disk lost power as it was written
            return []
        return [found] if isinstance(found, str) else found  # as it was kept at first

    def _refuse_ended(self, app, deployment):
        if deployment not in NOBODY and deployment in self.ended(app):
            raise Failed(
                f"deployment {said(deployment)} of {app} has ended on {self.node}: what comes after its way back is not"
                " done."
            )

    def _home(self, app):
        """Return the folder of ``app``, which is made when first needed."""
        folder = self.root / names.app(app)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # -- instances ----------------------------------------------------------------------------

    def folder(self, instance):
        """Return the folder of an instance, given its id."""
        return self.root / names.instance(instance).split("_", 1)[0] / "instances" / instance

    def instances(self, app=None):
        """Return the instances that are known here: of ``app``, or of all."""
        found = (self.read(folder / "instance.json") for folder in self._folders(app))
        return [instance for instance in found if instance]

    def strays(self, app=None):
        """Return the ids of the folders that no file of this node belongs to: of ``app``, or of all.

        The file is lost or unreadable, or it is another node's: then the folder is a copy, as on a cloned machine.
        """
        known = {i.id for i in self.instances(app)}
        ids = [folder.name for folder in self._folders(app)]
        return [i for i in ids if i not in known and names.is_instance(i) and names.slot_of(i) in names.SLOTS]

    def read(self, path):
        """Return the Instance recorded at ``path``; None if there is none, or if it is not the one of this folder here.

        What a file says of its node is compared, never believed: a folder may come from another machine.
        """
        known = {f.name for f in fields(Instance)}
        try:
            raw = json.loads(path.read_text())
            instance = Instance(**{k: v for k, v in raw.items() if k in known})
            whole = isinstance(instance.slot, int) and instance.port in (None, instance.slot)
            id_of = instance_id(instance.app, instance.version, instance.slot)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        agrees = id_of == instance.id == path.parent.name and instance.app == path.parent.parent.parent.name
        return instance if whole and agrees and instance.node == self.node else None

    def _folders(self, app):
        return sorted(self.root.glob(f"{'*' if app is None else names.app(app)}/instances/*"))

    def save(self, instance):
        """Record ``instance``."""
        write_file(self.folder(instance.id) / "instance.json", json.dumps(asdict(instance), indent=1))

    def allocate(self, app, version, address, deployment, slot=None, avoid=()):
        """Take a free port of the app's range (or a free number, without ports) for a new instance.

        :param slot: the port or number wanted; None: any.
        :param avoid: ports or numbers that are taken by instances without a file here.
        :raises Failed: none is free.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with _locked(self.root / ".lock"):
            slot = self._free_slot(app, address, slot, avoid)
            instance = Instance(
                id=instance_id(app.name, version, slot),
                node=self.node,
                app=app.name,
                version=version,
                slot=slot,
                address=address,
                port=slot if app.ports else None,
                deployment=deployment,
            )
            self.forget(instance.id)  # what another instance, or another machine, has left there
            self.folder(instance.id).mkdir(parents=True)
            self.save(instance)
        return instance

    def _free_slot(self, app, address, slot, avoid):
        if app.ports is None:
            taken = {i.slot for i in self.instances(app.name)} | set(avoid)
            if slot in taken:
                raise Failed(f"slot {slot} of {app.name} is in use on {self.node}: stop that instance first.")
            return slot if slot is not None else next(n for n in range(len(taken) + 1) if n not in taken)
        taken = self.ports_taken(address) | set(avoid)
        for port in app.ports if slot is None else (slot,):
            if port not in taken and _bindable(address, port):
                return port
        wanted = f"port {slot} is not" if slot is not None else f"no port of {app.ports} is"
        raise Failed(f"{wanted} free on {self.node} for {app.name}: widen apps:{app.name}:ports, or stop what uses it.")

    def ports_taken(self, address):
        """Return the ports that instances have, or that something listens on at ``address``."""
        return _listened_on(address) | {i.port for i in self.instances() if i.port}

    def listens(self, instance):
        """Return whether something listens at the address and port of ``instance``."""
        return instance.port in _listened_on(instance.address)

    def connections(self, instance):
        """Return how many connections to ``instance`` are open."""
        here = (instance.address, f"::ffff:{instance.address}")
        return sum(port == instance.port and ip in here for ip, port in sockets(ESTABLISHED))

    def forget(self, instance):
        """Remove the folder of ``instance``, which frees its port."""
        shutil.rmtree(self.folder(instance), ignore_errors=True)


def write_file(path, text, mode=0o644, owner=None):
    """Write ``path`` whole or not at all.

    :param owner: ``(uid, gid)``, where this process may give files away.
    """
    partial = path.with_name(f".{path.name}.partial")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as out:
        os.fchmod(out.fileno(), mode)
        if owner:
            os.fchown(out.fileno(), *owner)
        out.write(text)
    partial.rename(path)


@contextlib.contextmanager
def _locked(path):
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sockets(state):
    """Return ``(address, port)`` of this node's TCP sockets that are in ``state``.

    Not by psutil: it asks every process for its sockets, which takes a tenth of a second and more.
    """
    found = []
    for family, path in ((socket.AF_INET, "/proc/net/tcp"), (socket.AF_INET6, "/proc/net/tcp6")):
        with contextlib.suppress(FileNotFoundError), open(path) as table:  # a kernel may be without IPv6
            for line in table:
                _, local, _, its_state, _ = line.split(maxsplit=4)
                if its_state == state:
                    address, port = local.split(":")
                    words = (int(address[i : i + 8], 16) for i in range(0, len(address), 8))
                    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
                    found.append((socket.inet_ntop(family, packed), int(port, 16)))
    return found


def _listened_on(address):
    """Return the ports that something listens on at ``address``."""
    here = (address, f"::ffff:{address}", "0.0.0.0", "::")
    return {port for ip, port in sockets(LISTENING) if ip in here}


def _bindable(address, port):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as exc:
            if exc.errno == errno.EADDRNOTAVAIL or isinstance(exc, socket.gaierror):
                raise Failed(f"{address} is no address of this node: correct it in the environment's nodes.") from exc
            return False
    return True
