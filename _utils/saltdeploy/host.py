"""What is on a node: releases, instances, ports. Everything is under one root folder.

::

    <root>/.lock                                   taken while a port is chosen
    <root>/.validated                              digest of the definitions that were seen last, and their mistakes
    <root>/<app>/.lock                             taken while instances are published, stopped or brought back
    <root>/<app>/.starting                         taken while instances are started
    <root>/<app>/.run, .ended                      the run that has the app now; those that ended last
    <root>/<app>/releases/<version>                link to .<version>@<random>/files; whole or absent
    <root>/<app>/instances/<id>/instance.json      which release, port, deployment; tested or not
    <root>/.downloads/                             what was fetched over HTTP: see artifacts
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import tempfile
from dataclasses import asdict
from pathlib import Path

from . import addresses, disk, files, limits, locks, names, nodefiles, sockets, sources, trees, validation, watch
from .artifacts import Artifacts
from .errors import Failed, Refused
from .files import explained, make_folder, write_file
from .model import Instance, instance_id, slot_of, version_of
from .words import name as said

DEFAULT_ROOT = "/srv/saltdeploy"
# What instances belong to that somebody or a state starts, or that were brought back: these never end.
MANUAL, STATE, RESTORED = "manual", "state", "restored"
NOBODY = (None, "", MANUAL, STATE, RESTORED)
# How many deployments that have ended are remembered: more than have a job on its way still.
ENDED = 20


class Host:
    """This node's folder of releases and instances.

    :param node: the minion's id.
    :param root: the folder, made when first needed.
    """

    def __init__(self, node, root=DEFAULT_ROOT):
        self.node, self.root = node, Path(root)

    def problems(self, definitions):
        """Return the mistakes in ``definitions``, see validation.problems, as they were found here before.

        To look for them takes longer than most jobs do.
        """
        remembered, digest = self.root / ".validated", validation.digest(definitions)
        with contextlib.suppress(OSError, ValueError, LookupError, AttributeError):  # as it was kept at first, too
            found = json.loads(remembered.read_text())
            if found["digest"] == digest:
                return found["problems"]
        found = validation.problems_again(definitions)
        with contextlib.suppress(OSError):  # it is looked for again, then
            write_file(remembered, json.dumps({"digest": digest, "problems": found}), 0o600)
        return found

    # -- releases -----------------------------------------------------------------------------

    def release(self, app, version):
        """Return the path of an installed release (it may not exist)."""
        return self.root / names.app(app) / "releases" / names.version(version)

    def releases(self, app):
        """Return the versions of ``app`` that are installed, in the order in which they were: those that are whole."""
        return [p.name for p in self._links(app) if not nodefiles.wrong_with_release(p)]

    def broken_releases(self, app):
        """Return ``{version: what is wrong}`` of the releases of ``app`` that are not whole."""
        found = {p.name: nodefiles.wrong_with_release(p) for p in self._links(app)}
        return {version: wrong for version, wrong in found.items() if wrong}

    @explained()
    def _links(self, app):
        folder = self.root / names.app(app) / "releases"
        links = [p for p in folder.iterdir() if p.is_symlink()] if folder.is_dir() else []
        return sorted(links, key=lambda p: (p.lstat().st_mtime_ns, p.name))

    def installed(self, app, version, digest=""):
        """Return whether this very release is installed.

        :param digest: the SHA-256 of the archive that it must be made of; empty: what the definition says.
        :raises Refused: another one is, under the same version.
        """
        if app.source is None:
            raise Refused(f"{self.node} may not run {app.name}: it has none of the roles of the app, nor its settings.")
        release = self.release(app.name, version)
        if nodefiles.wrong_with_release(release):
            return False
        recorded = nodefiles.release_record(release)
        changed = sources.changes(app.source, version, recorded)
        if digest and recorded.get("artifact", digest) != digest:
            changed = ["sha256"]
        if changed:
            raise Refused(
                f"{app.name} {version} is installed on {self.node} from another source ({', '.join(changed)} changed):"
                " a release never changes. Give the new content a new version, or `app.remove` this one first."
            )
        return True

    def install(self, app, version, fetch, digest=""):
        """Install a release; return whether anything was done.

        :param digest: the SHA-256 of the archive that this deployment is about; empty: what the definition says now.
        :raises Failed: it could not be; of the release nothing is left then, of a download what the next try goes on
            with, unless it was the disk that is full.
        """
        folder = self.release(app.name, version).parent
        with self._telling(app, version), files.readable_by_all():
            make_folder(folder)
            return self._install(app, version, folder, fetch, digest)

    def _install(self, app, version, folder, fetch, digest):
        # Whoever waits for as long as its deployment does would have no time left for what it waits for.
        with locks.hold(folder / ".lock", app.strategy.progress_deadline / 2):
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
        # A version holds no "@": what an install of 1.0 throws away is never the release 1.0-rc1.
        current = _build_of(release) if self._users(app, version) else None
        for left in release.parent.glob(f".{version}@*"):
            if left != current:  # instances run from it
                with contextlib.suppress(OSError):
                    trees.remove(left)

    def _build(self, app, version, build, fetch, artifacts, digest):
        unpacked = build / "files"
        unpacked.mkdir()
        for folder in (build, unpacked):
            folder.chmod(0o755)
        # The master gives up after the strategy's progress_deadline: the reason is told before that.
        deadline = app.strategy.progress_deadline
        seconds = min(limits.DOWNLOAD, max(deadline / 2, deadline - limits.SMALL))
        made = sources.build(app.source, version, unpacked, fetch, artifacts, app.user, digest, seconds)
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
        recorded = nodefiles.release_record(self.release(app.name, version))
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
            # Else it is somebody's file, or broken, or another job has just removed it.
            if not nodefiles.wrong_with_release(link):
                found.add(nodefiles.release_record(link).get("artifact"))
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
        used = self._users(app, version)
        if used:
            raise Refused(f"{app} {version} is in use on {self.node} by {', '.join(used)}: stop that first.")
        release = self.release(app, version)
        with explained():
            there = release.is_symlink()
            if there:
                build = _build_of(release)
                release.unlink()
                self._make_way(app, version)
                if build and build.exists():
                    raise Failed(f"{app} {version} is removed on {self.node}, but for {build}: remove that by hand.")
                Artifacts(self.root, app, release.parent).tidy(self._made_of())
            self._remove_empty(app)
        return there

    def _users(self, app, version):
        """Return the ids of the instances that run a release, broken ones too."""
        here = [i.id for i in self.instances(app)] + list(self.broken(app))
        return [i for i in here if version_of(i) == version]

    def _remove_empty(self, app):
        """Remove the folders of ``app`` if nothing is in them but what its jobs need among themselves."""
        home = self.root / names.app(app)
        with contextlib.suppress(OSError):
            (home / "instances").rmdir()
        own = {".lock", ".starting", ".run", ".ended", "releases"}
        with contextlib.suppress(OSError, locks.Held), contextlib.ExitStack() as held:
            if any(p.name not in own for p in (*home.iterdir(), *(home / "releases").iterdir())):
                return
            for lock in (home / ".starting", home / "releases" / ".lock"):
                held.enter_context(locks.hold(lock, 0))
            # Who waits for one of them notices that it is gone.
            trees.remove(home)

    # -- turns --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self, app, deployment=None, after=None, patience=locks.MOMENT):
        """Hold off other jobs that change what users find of ``app``: one may outlast the run that sent it.

        :param deployment: whose step this is.
        :param after: whose steps this undoes. It ends here at once: what waits for its turn, too, is refused then, and
            what has its turn is undone in the next one.
        :param patience: seconds to wait for the turn.
        :raises Failed: ``deployment`` has ended here: its step was overtaken by the way back. Or that it ended could
            not be written: that is raised when all else is done, so that a full disk does not keep what is bad in use.
        """
        unwritten = None
        try:
            self.end(app, after)
        except locks.Held:
            raise
        except Failed as exc:
            unwritten = exc
        with self._turn(app, ".lock", patience):
            self.refuse_ended(app, deployment)
            yield
        if unwritten:
            raise Failed(
                f"done, but late steps of deployment {said(after)} are not refused: {unwritten}"
            ) from unwritten

    @contextlib.contextmanager
    def _turn(self, app, name, patience=locks.MOMENT):
        with contextlib.ExitStack() as held:
            with explained():
                held.enter_context(locks.hold(self._home(app) / name, patience))
            yield

    @contextlib.contextmanager
    def starting(self, app, deployment):
        """Hold off the end of ``deployment`` while it starts instances of ``app``; Failed if it has ended here.

        What is started is tested outside of this, for longer than the way back should have to wait.
        """
        with self._turn(app, ".starting"):
            self.refuse_ended(app, deployment)
            yield

    def begin(self, app, deployment):
        """Take ``deployment`` for the run that has ``app`` now: nothing is done any more for the one before.

        The lock lets one run at a time begin, so that a late job of an earlier one is known here, and refused.

        :raises Failed: ``deployment`` has ended here.
        """
        run = self._home(app) / ".run"
        with self._turn(app, ".starting"), explained():
            self.refuse_ended(app, deployment)
            before = _read_json(run) or deployment
            if before != deployment:
                self._add_ended(app, before)
            write_file(run, json.dumps(deployment))

    def end(self, app, deployment):
        """Have nothing done for ``deployment`` any more, unless it is nobody's."""
        if deployment not in NOBODY:
            with self._turn(app, ".starting"), explained():
                self._add_ended(app, deployment)

    def _add_ended(self, app, deployment):
        others = [other for other in self.ended(app) if other != deployment]
        write_file(self._home(app) / ".ended", json.dumps([*others, deployment][-ENDED:]))

    def ended(self, app):
        """Return the deployments of ``app`` that ended here, the last one last."""
        found = _read_json(self._home(app) / ".ended")
        found = [found] if isinstance(found, str) else found  # as it was kept at first
        return [d for d in found if isinstance(d, str)] if isinstance(found, list) else []

    def refuse_ended(self, app, deployment):
        """Raise Failed if ``deployment`` of ``app`` has ended here: it was reverted, or a later run has begun."""
        if deployment not in NOBODY and deployment in self.ended(app):
            raise Failed(
                f"Refused on {self.node}: deployment {said(deployment)} of {app} has ended there. It was reverted, or a"
                " later run has begun."
            )

    def _home(self, app):
        """Return the folder of ``app``, which is made when first needed."""
        folder = self.root / names.app(app)
        with explained():
            make_folder(folder)
        return folder

    # -- instances ----------------------------------------------------------------------------

    def folder(self, instance):
        """Return the folder of an instance, given its id."""
        return self.root / names.instance(instance).split("_", 1)[0] / "instances" / instance

    def instances(self, app=None):
        """Return the instances that are known here, of ``app`` or of all: those whose record can be read."""
        return self._recorded(app)[0]

    def broken(self, app=None):
        """Return ``{id: what is wrong}`` of the instances, of ``app`` or of all, whose record cannot be read."""
        return self._recorded(app)[1]

    def strays(self, app=None):
        """Return the ids of the folders, of ``app`` or of all, that no record of this node belongs to.

        The record is lost or broken, or it is another node's: then the folder is a copy, as on a cloned machine.
        """
        _, broken, lost = self._recorded(app)
        return sorted([*broken, *lost])

    def _recorded(self, app):
        found, broken, lost = [], {}, []
        for folder in sorted(self.root.glob(f"{'*' if app is None else names.app(app)}/instances/*")):
            path, own = folder / "instance.json", (self.node, folder.parent.parent.name)
            try:
                instance = nodefiles.instance(path)
                # What a file says of its node is compared, never believed.
                found.append(instance) if (instance.node, instance.app) == own else lost.append(folder.name)
            except (FileNotFoundError, NotADirectoryError):
                lost.append(folder.name)
            except (OSError, ValueError) as exc:
                broken[folder.name] = files.sentence(exc) if isinstance(exc, OSError) else f"{path}: {exc}."
        lost = [i for i in lost if _can_be_instance(i)]
        return found, {i: wrong for i, wrong in broken.items() if _can_be_instance(i)}, lost

    def save(self, instance):
        """Record ``instance``."""
        with explained():
            write_file(self.folder(instance.id) / "instance.json", json.dumps(asdict(instance), indent=1))

    def allocate(self, app, version, address, deployment, slot=None, avoid=()):
        """Take a free port of the app's range (or a free number, without ports) for a new instance.

        :param slot: the port or number wanted; None: any.
        :param avoid: ports or numbers that are taken by instances without a file here.
        :raises Failed: none is free.
        """
        with contextlib.ExitStack() as held, explained():
            make_folder(self.root)
            held.enter_context(locks.hold(self.root / ".lock"))
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
                watch=None if app.ports else self._watch_port(address),
            )
            self.forget(instance.id)  # what another instance, or another machine, has left there
            make_folder(self.folder(instance.id))
            self.save(instance)
        return instance

    def _free_slot(self, app, address, slot, avoid):
        if app.ports is None:
            taken = {i.slot for i in self.instances(app.name)} | {slot_of(i) for i in self.broken(app.name)}
            taken |= set(avoid)
            if slot in taken:
                raise Failed(f"slot {slot} of {app.name} is in use on {self.node}: stop that instance first.")
            return slot if slot is not None else next(n for n in range(len(taken) + 1) if n not in taken)
        taken = self.ports_taken(address) | set(avoid)
        for port in app.ports if slot is None else (slot,):
            if port not in taken and _bindable(address, port):
                return port
        wanted = f"port {slot} is not" if slot is not None else f"no port of {app.ports} is"
        raise Failed(f"{wanted} free on {self.node} for {app.name}: widen apps:{app.name}:ports, or stop what uses it.")

    def _watch_port(self, address):
        return watch.port(self.ports_taken(address), lambda number: _bindable(address, number))

    def ports_taken(self, address):
        """Return the ports that instances have, or that something listens on at ``address``."""
        listening = {s.port for s in sockets.table(sockets.LISTENING) if s.address in sockets.heard_at(address)}
        watched = {i.watch for i in self.instances() if i.watch}
        return listening | watched | self.instance_ports()

    def listens(self, instance):
        """Return whether something listens at the address and port of ``instance``."""
        return instance.port is not None and bool(sockets.listening(instance.address, instance.port))

    def instance_ports(self):
        """Return the ports that the instances here have, whether they listen or not."""
        instances, broken, _ = self._recorded(None)
        return {i.port for i in instances if i.port} | {slot_of(i) for i in broken}

    def connections(self, instance):
        """Return how many connections to ``instance`` are open."""
        here = (addresses.canonical(instance.address), instance.port)
        return sum((s.address, s.port) == here for s in sockets.table(sockets.ESTABLISHED))

    def forget(self, instance):
        """Remove the folder of ``instance``, which frees its port.

        :raises Failed: it cannot be removed.
        """
        folder = self.folder(instance)
        with explained(), contextlib.suppress(FileNotFoundError):
            trees.remove(folder)


def _can_be_instance(name):
    """Return whether a folder is called as an instance's; what hooks run in has no number."""
    return names.is_instance(name) and slot_of(name) in names.SLOTS


def _build_of(release):
    """Return the folder that a release's link leads to, None if it leads to none of ours."""
    if not release.is_symlink():
        return None
    build = release.parent / os.readlink(release).partition("/")[0]
    return build if build.name.startswith(".") and build.parent == release.parent else None


def _read_json(path):
    """Return what the file ``path`` holds; None if it is not there, or was cut short when the power failed."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _bindable(address, port):
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as exc:
        # A kernel without IPv6 has no such sockets.
        if exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) or isinstance(exc, socket.gaierror):
            raise Failed(f"{address} is no address of this node: correct it in the environment's nodes.") from exc
        return False
    return True
