"""The launch of an instance: its placeholders, its environment, its files and its unit."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core import addresses, editions, placeholders
from ..core.errors import Refused
from ..core.instanceids import instance_id
from ..definition import instancefiles
from ..discovery.registration import ttl_check
from ..runtime import Unit, podman
from ..system import baseenv, processes
from ..system.files import explained, make_folder, write_file
from . import portless, watching

if TYPE_CHECKING:
    from ..core.model import App, Instance
    from .host import Host
    from .settings import Settings

# ``fetch(url, path)`` brings a ``salt://`` file. Without a path it returns the size in bytes, None if nobody knows it.
Fetch = Callable[[str, "Path | None"], "int | None"]
# ``render(url, path, context)`` renders a ``salt://`` template into a file.
Render = Callable[[str, Path, Mapping[str, object]], None]
# The script starts itself again with an empty environment. The variables of the minion or the supervisor are not for
# the app.
START = """\
#!/bin/sh
[ "$1" = clean ] || exec /usr/bin/env -i /bin/sh "$0" clean
{watched}{exports}exec {command}
"""


def values(app: App, host: Host, address: str, environment: str, version: str | None = None) -> dict[str, object]:
    """Return the placeholders as they might be for an instance of ``app`` that does not exist yet.

    :param version: its release or edition. None takes the release that the definition names.
    """
    slot = app.ports.first if app.ports else 0
    version = editions.release(version or app.version or "0")
    found: dict[str, object] = {
        "address": address,
        "host": addresses.host(address),
        "port": slot if app.ports else None,
        "version": version,
        "release": str(host.releases.path(app.name, version)),
        "instance": str(host.instances.folder(instance_id(app.name, version, slot))),
        "app": app.name,
        "environment": environment,
        "node": host.node,
        "service": placeholders.Services(app.domain),
        "addresses": placeholders.UNRESOLVED,
    }
    return {**found, "data": str(host.data.path(app))} if app.data else found


class Launch:
    """The launch of an instance of ``app`` on ``host``, in the environment with that name.

    :param settings: the settings to start it with. None takes the settings that ``app`` defines.
    """

    def __init__(
        self, app: App, instance: Instance, host: Host, environment: str, settings: Settings | None = None
    ) -> None:
        self.app, self.instance, self.host = settings.over(app) if settings else app, instance, host
        self.settings, app = settings, self.app
        self.folder = host.instances.folder(instance.id)
        self.release = host.releases.path(app.name, editions.release(instance.version))
        self.values: dict[str, object] = {
            **values(app, host, instance.address, environment, instance.version),
            "port": instance.port,
            "instance": str(self.folder),
        }

    @property
    def env(self) -> dict[str, str]:
        """The app's variables in the environment of its process, of its hooks and of tests that are commands."""
        named = {k: self.values.get(k) for k in ("address", "port", "version", "data")}
        own = {k.upper(): str(value) for k, value in named.items() if value is not None}
        return {**own, "CONSUL_CHECK_ID": ttl_check(self.instance.id), **self.own_env}

    @property
    def process_env(self) -> dict[str, str]:
        """The whole environment of its process."""
        return {**baseenv.base(self.unit.user), **self.env, processes.MARK: str(self.folder)}

    @property
    def own_env(self) -> dict[str, str]:
        """The variables that the app's definition has under ``env``."""
        return {key: placeholders.fill(value, self.values) for key, value in self.app.env.items()}

    @property
    def unit(self) -> Unit:
        """The unit that runs the instance."""
        image = self.image
        user = self.app.user if os.geteuid() == 0 and not image else ""
        start, log = self.folder / instancefiles.START, self.folder / instancefiles.LOG
        limits = (self.app.memory, self.app.cpu, self.app.stop)
        if self.app.unit:
            variables = self.folder / instancefiles.VARIABLES
            return Unit(self.instance.id, variables, self.release, log, "", *limits, adopted=self.app.unit)
        return Unit(self.instance.id, start, self.release, log, user, *limits, container=bool(image))

    @property
    def image(self) -> str:
        """The id of the image that its release is. Empty if it is none, or cannot be read."""
        return self.host.releases.image(self.app.name, editions.release(self.instance.version))

    def rendered(self, render: Render) -> dict[str, str]:
        """Return the texts of ``config``, by their paths below the instance's folder.

        :raises Refused: a path leaves that folder.
        :raises Failed: a template cannot be rendered.
        """
        return {target: self.text(target, render) for target in self.app.config}

    @explained()
    def write(self, config: Mapping[str, str]) -> None:
        """Write the configuration and the start script. Both may hold secrets, so only the app's user may read them.

        :param config: the texts of the configuration, as :meth:`rendered` returns them.
        :raises Refused: this node has no such user, or the app's data folder belongs to another user, or a service that
            the app follows has no healthy instance.
        """
        lost = placeholders.unresolved([self.app.run, *self.app.env.values()])
        if lost:
            raise Refused(f"{self.app.name} follows {' and '.join(lost)}, and discovery has no healthy instance of it.")
        owner = self.owner()
        self._close_folder(owner)
        if self.app.data:
            self.host.data.make(self.app, owner)
        self.write_config(config)
        if self.app.unit:
            variables = {**self.env, processes.MARK: str(self.folder)}
            lines = "".join(f"{key}={_quoted(value)}\n" for key, value in variables.items())
            write_file(self.folder / instancefiles.VARIABLES, lines, 0o600)
            return
        command = [placeholders.fill(word, self.values) for word in shlex.split(self.app.run)]
        image = self.image
        if image:
            self._write_container(image, owner or (0, 0), command)
            return
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in self.process_env.items())
        watched = self._write_watcher() if self.instance.watch else ""
        script = START.format(watched=watched, exports=exports, command=shlex.join(command))
        write_file(self.folder / instancefiles.START, script, 0o500, owner)

    def _write_container(self, image: str, owner: tuple[int, int], arguments: Sequence[str]) -> None:
        """Write the files of a container. Only root may read them, because podman reads them as root."""
        mark = {processes.MARK: str(self.folder)}
        # podman takes each line as it is.
        lines = "".join(f"{key}={value}\n" for key, value in {**self.env, **mark}.items())
        write_file(self.folder / instancefiles.VARIABLES, lines, 0o600)
        folders = [(self.folder, "ro"), *([(self.host.data.path(self.app), "rw")] if self.app.data else [])]
        variables = self.folder / instancefiles.VARIABLES
        command = shlex.join(podman.command(self.instance.id, image, owner, variables, folders, arguments))
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in {**baseenv.base(), **mark}.items())
        write_file(self.folder / instancefiles.START, START.format(watched="", exports=exports, command=command), 0o500)

    @explained()
    def write_config(self, config: Mapping[str, str]) -> None:
        """Write files of the configuration, which only the app's user may read.

        :param config: path below the instance's folder -> text.
        """
        owner = self.owner()
        for target, text in config.items():
            make_folder((self.folder / target).parent)
            write_file(self.folder / target, text, 0o600, owner)

    def _write_watcher(self) -> str:
        """Write the files of the watcher. Return the line that starts it."""
        path = self.folder / instancefiles.WATCHER
        write_file(path, portless.source())
        watching.write(self)
        return portless.line(self.instance, path, self.folder / instancefiles.WATCHING)

    def _close_folder(self, owner: tuple[int, int] | None) -> None:
        """Keep all other users out of the folder. The log of the app is in it, and may hold anything."""
        make_folder(self.folder)
        if owner:
            os.chown(self.folder, 0, owner[1])
        self.folder.chmod(0o750)

    @explained()
    def text(self, target: str, render: Render) -> str:
        """Return the text of one file of ``config``, as :meth:`rendered` does."""
        if ".." in Path(target).parts:
            raise Refused(f"config {target} leaves the folder of the instance.")
        # Salt makes a file that all users may read, so the folder around it is private.
        with tempfile.TemporaryDirectory() as private:
            path = Path(private) / Path(target).name
            render(self.app.config[target], path, self._known())
            return path.read_text()

    def _known(self) -> dict[str, object]:
        """Return the placeholders of the files of ``config``. A container does not see the folder of its release."""
        return {key: value for key, value in self.values.items() if key != "release" or not self.image}

    def owner(self) -> tuple[int, int] | None:
        """Return the uid and gid of the app's user. None if this process may not give files away.

        :raises Refused: this node has no such user.
        """
        if os.geteuid() != 0:
            return None
        try:
            entry = pwd.getpwnam(self.app.user)
        except KeyError:
            raise Refused(
                f"this node has no user {self.app.user}. Apply the state app.release, or add the user."
            ) from None
        return entry.pw_uid, entry.pw_gid


def _quoted(value: str) -> str:
    """Return ``value`` for a file of variables as systemd reads it (systemd.exec(5), EnvironmentFile=)."""
    escaped = re.sub(r'(["\\`$])', r"\\\1", value)
    return f'"{escaped}"'
