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
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

from . import disk, limits, names, sources, trees, validation
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
        # A link to nothing is no release: it is replaced by the next installation.
        links = [p for p in folder.iterdir() if p.is_symlink() and p.is_dir()] if folder.is_dir() else []
        return [p.name for p in sorted(links, key=lambda p: (p.lstat().st_mtime_ns, p.name))]

    def installed(self, app, version, digest=""):
        """Return whether this very release is installed.

        :param digest: the SHA-256 of the archive that it must be made of; empty: what the definition says.
        :raises Refused: another one is, under the same version.
        """
        release = self.release(app.name, version)
        recorded = self._recorded(release)
        if not release.is_dir() or recorded is None:
            return False
        changed = sources.changes(app.source, version, recorded)
        if digest and recorded.get("artifact", digest) != digest:
            changed = ["sha256"]
        if changed:
            raise Refused(
                f"{app.name} {version} is installed on {self.node} from another source ({', '.join(changed)} changed):"
                " a release never changes. Give the new content a new version, or `app.remove` this one first."
            )
        return True

    def _recorded(self, release):
        """Return what release.json has of an installed release, None if it cannot be read."""
        try:
            found = json.loads((release.resolve().parent / "release.json").read_text())
        except (OSError, RuntimeError, ValueError):  # a disk that lost power, or a link to itself
            return None
        return found if isinstance(found, dict) and isinstance(found.get("origin"), dict) else None

    def install(self, app, version, fetch, digest=""):
        """Install a release; return whether anything was done.

        :param digest: the SHA-256 of the archive that this deployment is about; empty: what the definition says now.
        :raises Failed: it could not be; of the release nothing is left then, of a download what the next try goes on
            with, unless it was the disk that is full.
        """
        folder = self.release(app.name, version).parent
        with self._telling(app, version):
            trees.make(folder)
            return self._install(app, version, folder, fetch, digest)

    def _install(self, app, version, folder, fetch, digest):
        with _locked(folder / ".lock"):
            if self.installed(app, version, digest):
                return False
            self._make_way(app.name, version)
            artifacts = Artifacts(self.root, app.name, folder)
            build = Path(tempfile.mkdtemp(prefix=f".{version}@", dir=folder))
            try:
                with artifacts:
                    self._build(app, version, build, fetch, artifacts, digest)
            except BaseException as exc:
                with contextlib.suppress(OSError):  # the next installation tries again
                    trees.remove(build)
                if isinstance(exc, Exception):  # what was interrupted will go on
                    artifacts.tidy(self._made_of(), parts=False)
                raise
            artifacts.tidy(self._made_of())
        return True

    def _make_way(self, app, version):
        """Remove what earlier installations of a release left. What cannot be removed is in nobody's way."""
        release = self.release(app, version)
        if release.exists() and not release.is_symlink():
            raise Failed(f"{release} on {self.node} is no release that was installed here: move it away.")
        current = _build_of(release)
        # A version holds no "@": what an install of 1.0 throws away is never the release 1.0-rc1.
        for left in release.parent.glob(f".{version}@*"):
            if left != current:  # instances may run from it
                with contextlib.suppress(OSError):
                    trees.remove(left)

    def _build(self, app, version, build, fetch, artifacts, digest):
        files = build / "files"
        files.mkdir()
        for folder in (build, files):
            folder.chmod(0o755)
        # The master gives up after the strategy's progress_deadline: the reason is told before that.
        deadline = app.strategy.progress_deadline
        seconds = min(limits.DOWNLOAD, max(deadline / 2, deadline - limits.SMALL))
        made = sources.build(app.source, version, files, fetch, artifacts, app.user, digest, seconds)
        record = {"app": app.name, "version": version, "origin": sources.origin(app.source, version), **made}
        write_file(build / "release.json", json.dumps(record, indent=1))
        os.sync()
        link = build / "link"
        link.symlink_to(Path(build.name) / "files")
        link.rename(self.release(app.name, version))

    def room(self, app, version, fetch):
        """Return of what content a release is, or will be; nothing is changed.

        :returns: ``{"installed", "digest", "now", "packages"}``: the SHA-256 of its archive; what a file of digests
            says of it now, empty where there is no such file or it cannot be had; and what pip installed.
        :raises Failed: there is no room for it, or its artifact cannot be had.
        """
        artifacts = Artifacts(self.root, app.name, self.release(app.name, version).parent)
        with self._telling(app, version), tempfile.TemporaryDirectory() as folder:
            if not self.installed(app, version):
                digest = sources.room(app.source, version, Path(folder), fetch, artifacts)
                return {"installed": False, "digest": digest, "now": digest, "packages": []}
            now = ""
            if app.source.kind == "archive" and not sources.known_digest(app.source, version):
                with contextlib.suppress(Failed, Refused):  # what is installed needs it no more
                    now = sources.find_digest(app.source, version, Path(folder), fetch)
        recorded = self._recorded(self.release(app.name, version)) or {}
        about = {"digest": recorded.get("artifact", ""), "packages": recorded.get("packages", [])}
        return {"installed": True, "now": now, **about}

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
            recorded = self._recorded(link)  # None: somebody's file, or another job has just removed it
            found.add(recorded.get("artifact") if recorded else None)
        return found

    def remove_release(self, app, version):
        """Remove a release; return whether there was one. Refused while an instance runs it."""
        used = [i.id for i in self.instances(app) if i.version == version]
        if used:
            raise Refused(f"{app} {version} is in use on {self.node} by {', '.join(used)}: stop that first.")
        release = self.release(app, version)
        if not release.is_symlink():
            return False
        build = _build_of(release)
        release.unlink()
        self._make_way(app, version)
        if build and build.exists():
            raise Failed(f"{app} {version} is removed on {self.node}, but for {build}: remove that by hand.")
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
        trees.make(folder)
        return folder

    # -- instances ----------------------------------------------------------------------------

    def folder(self, instance):
        """Return the folder of an instance, given its id."""
        return self.root / names.instance(instance).split("_", 1)[0] / "instances" / instance

    def instances(self, app=None):
        """Return the instances that are known here: of ``app``, or of all."""
        found = []
        for path in sorted(self.root.glob(f"{'*' if app is None else names.app(app)}/instances/*/instance.json")):
            with contextlib.suppress(FileNotFoundError):  # another job has just stopped it
                found.append(self.read(path))
        return found

    def read(self, path):
        """Return the Instance recorded at ``path``."""
        known = {f.name for f in fields(Instance)}
        return Instance(**{k: v for k, v in json.loads(path.read_text()).items() if k in known})

    def save(self, instance):
        """Record ``instance``."""
        write_file(self.folder(instance.id) / "instance.json", json.dumps(asdict(instance), indent=1))

    def allocate(self, app, version, address, deployment, slot=None):
        """Take a free port of the app's range (or a free number, without ports) for a new instance.

        :param slot: the port or number wanted; None: any.
        :raises Failed: none is free.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with _locked(self.root / ".lock"):
            slot = self._free_slot(app, address, slot)
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
            self.folder(instance.id).mkdir(parents=True, exist_ok=True)
            self.save(instance)
        return instance

    def _free_slot(self, app, address, slot):
        if app.ports is None:
            taken = {i.slot for i in self.instances(app.name)}
            if slot in taken:
                raise Failed(f"slot {slot} of {app.name} is in use on {self.node}: stop that instance first.")
            return slot if slot is not None else next(n for n in range(len(taken) + 1) if n not in taken)
        taken = self.ports_taken(address)
        for port in app.ports if slot is None else (slot,):
            if port not in taken and _bindable(address, port):
                return port
        wanted = f"port {slot} is not" if slot is not None else f"no port of {app.ports} is"
        raise Failed(f"{wanted} free on {self.node} for {app.name}: widen apps:{app.name}:ports, or stop what uses it.")

    def ports_taken(self, address):
        """Return the ports that instances have, or that something listens on at ``address``."""
        here = (address, f"::ffff:{address}", "0.0.0.0", "::")
        listening = {port for ip, port in sockets(LISTENING) if ip in here}
        return listening | {i.port for i in self.instances() if i.port}

    def connections(self, instance):
        """Return how many connections to ``instance`` are open."""
        here = (instance.address, f"::ffff:{instance.address}")
        return sum(port == instance.port and ip in here for ip, port in sockets(ESTABLISHED))

    def forget(self, instance):
        """Remove the folder of ``instance``, which frees its port."""
        shutil.rmtree(self.folder(instance), ignore_errors=True)


def _build_of(release):
    """Return the folder that a release's link leads to, None if it leads to none of ours."""
    if not release.is_symlink():
        return None
    build = release.parent / os.readlink(release).partition("/")[0]
    return build if build.name.startswith(".") and build.parent == release.parent else None


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
