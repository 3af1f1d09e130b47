"""What an instance is started from: its placeholders, its environment, its files, its unit."""

from __future__ import annotations

import os
import pwd
import shlex
import tempfile
from pathlib import Path

from . import addresses, instancefiles, placeholders, processes, surroundings, watch
from .errors import Refused
from .files import explained, make_folder, write_file
from .model import instance_id
from .runtime import Unit

# It begins again with nothing in its environment: what the minion or the supervisor has there is none of the app's.
START = """\
#!/bin/sh
[ "$1" = clean ] || exec /usr/bin/env -i /bin/sh "$0" clean
{watched}{exports}exec {command}
"""


def values(app, host, address, environment, version=None):
    """Return the placeholders as they might be for an instance of ``app``, of which there is none yet.

    :param version: its release. None: the one that the definition names.
    """
    slot = app.ports.first if app.ports else 0
    version = version or app.version or "0"
    found = {
        "address": address,
        "host": addresses.host(address),
        "port": slot if app.ports else None,
        "version": version,
        "release": str(host.release(app.name, version)),
        "instance": str(host.folder(instance_id(app.name, version, slot))),
        "app": app.name,
        "environment": environment,
        "node": host.node,
    }
    return {**found, "data": str(host.data(app))} if app.data else found


class Launch:
    """How one instance of ``app`` is started on ``host`` (a host.Host) in the environment so named."""

    def __init__(self, app, instance, host, environment):
        self.app, self.instance, self.host = app, instance, host
        self.folder = host.folder(instance.id)
        self.release = host.release(app.name, instance.version)
        self.values = {
            **values(app, host, instance.address, environment, instance.version),
            "port": instance.port,
            "instance": str(self.folder),
        }

    @property
    def env(self):
        """What the environment of the process, of hooks and of tests that are commands has of this app."""
        named = {k: self.values.get(k) for k in ("address", "port", "version", "data")}
        own = {k.upper(): str(value) for k, value in named.items() if value is not None}
        return {**own, **{key: placeholders.fill(value, self.values) for key, value in self.app.env.items()}}

    @property
    def unit(self):
        """The runtime.Unit that runs it."""
        user = self.app.user if os.geteuid() == 0 else ""
        start, log = self.folder / instancefiles.START, self.folder / instancefiles.LOG
        return Unit(self.instance.id, start, self.release, log, user, self.app.memory, self.app.cpu, self.app.stop)

    @explained()
    def write(self, render):
        """Write its configuration and its start script; secrets may be in both, so they are the app's user's own.

        :param render: ``render(url, path, context)`` renders a ``salt://`` template into a file.
        :raises Refused: this node has no such user, or the app's data folder is somebody else's.
        """
        owner = self._owner()
        self._close_folder(owner)
        if self.app.data:
            self.host.make_data(self.app, owner)
        for target, template in self.app.config.items():
            self._render(self.folder / target, template, render, owner)
        command = shlex.join(placeholders.fill(word, self.values) for word in shlex.split(self.app.run))
        user = self.app.user if owner else ""
        env = {**surroundings.base(user), **self.env, processes.MARK: str(self.folder)}
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in env.items())
        watched = self._watcher() if self.instance.watch else ""
        text = START.format(watched=watched, exports=exports, command=command)
        write_file(self.folder / instancefiles.START, text, 0o500, owner)

    def _watcher(self):
        """Write the watcher's file; return the line that starts it."""
        path = self.folder / instancefiles.WATCHER
        write_file(path, watch.source())
        return watch.line(self.instance, path)

    def _close_folder(self, owner):
        """Keep all but the app's user out of the folder: what it prints may be anything, and nobody asked others in."""
        make_folder(self.folder)
        if owner:
            os.chown(self.folder, 0, owner[1])
        self.folder.chmod(0o750)

    def _render(self, path, template, render, owner):
        if ".." in path.parts:
            raise Refused(f"config {path}: leaves the instance's folder.")
        make_folder(path.parent)
        # A folder that only this user may enter: Salt makes a file that all may read.
        with tempfile.TemporaryDirectory(dir=path.parent) as private:
            rendered = Path(private) / path.name
            render(template, rendered, self.values)
            write_file(path, rendered.read_text(), 0o600, owner)

    def _owner(self):
        """Return the uid and gid of the app's user, where this process may give files to it."""
        if os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(self.app.user)
        except KeyError:
            raise Refused(
                f"there is no user {self.app.user} on this node: apply the state app.release, or add it."
            ) from None
        return entry.pw_uid, entry.pw_gid
