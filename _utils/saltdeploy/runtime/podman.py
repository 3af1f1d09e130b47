"""The command that runs an image as a container, under a unit of this machine's supervisor.

podman stays in the foreground, passes signals on, and ends with the exit code of the container. Its processes and those
of the container are in the control group of the unit, so the limits of the unit hold for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from .base import PREFIX

# The container has the network of the node, and no rights but those of its user. A release never changes, and nothing
# is pulled. Checks are those of the app. The kernel drops signals to a first process that does not handle them, so an
# init is the first, and passes them on.
# podman's own events must not go to the journal, where they would be in the log of the unit.
GLOBAL = ("--runtime=crun", "--events-backend=file")
OPTIONS = (
    "--rm",
    "--replace",
    "--init",
    "--pull=never",
    "--network=host",
    "--cgroups=disabled",
    "--log-driver=passthrough",
    "--sdnotify=ignore",
    "--systemd=false",
    "--http-proxy=false",
    "--no-healthcheck",
    "--image-volume=ignore",
    "--read-only",
    "--security-opt=no-new-privileges",
)


def name(instance: str) -> str:
    """Return the name of the container of an instance, given its id."""
    return f"{PREFIX}{re.sub('[^A-Za-z0-9_.-]', '-', instance)}"


def command(
    instance: str,
    image: str,
    owner: tuple[int, int],
    variables: Path,
    folders: Iterable[tuple[Path, str]],
    arguments: Sequence[str],
) -> list[str]:
    """Return the words of the command.

    :param instance: its id.
    :param image: the id of the image.
    :param owner: the ids of the user and the group that run it.
    :param variables: the file with its environment, each variable on a line as ``name=value``.
    :param folders: the folders of the node that it sees, each with ``ro`` or ``rw``.
    :param arguments: the words in place of those in the image.
    """
    user, group = owner
    return [
        *("podman", *GLOBAL, "run", *OPTIONS),
        f"--name={name(instance)}",
        f"--label=saltdeploy={instance}",
        f"--user={user}:{group}",
        *(["--cap-drop=all"] if user else []),
        f"--env-file={variables}",
        *(f"--mount=type=bind,src={folder},dst={folder},{mode}" for folder, mode in folders),
        image,
        *arguments,
    ]
