"""The images in podman's storage that releases on this node are made of.

``<root>/.images/<digest>`` has the names under which saltdeploy pulled an image, each on a line. It is written before
the image is pulled. So an image is removed also if its installation was killed, and an image of others never is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

from ..core import limits
from ..core.errors import Failed
from ..system import commands, filelocks, files, processes
from . import artifacts

FOLDER = ".images"
# Containers of saltdeploy have this label, whose value is the id of the instance.
LABEL = "saltdeploy"
# A line with the id of a container and its process, and the options to remove it whatever podman thinks of its state.
CONTAINER = re.compile(r"^([0-9a-f]{12,64}) ([0-9]+)$", re.MULTILINE)
FORCE = ("--force", "--ignore", "--time=0")

# The oldest podman with which containers are tested.
LEAST = (4, 3)


def outdated() -> str:
    """Return the version of podman if it is too old, or its error. Empty if it is new enough."""
    try:
        _, output = podman(["version", "--format={{.Client.Version}}"])
    except Failed as exc:
        return str(exc)
    found = re.search(r"^([0-9]+)\.([0-9]+)\S*$", output, re.MULTILINE)
    if not found:
        return error(output) or "of unknown version"
    return found[0] if (int(found[1]), int(found[2])) < LEAST else ""


def claim(root: Path, digest: str, name: str) -> None:
    """Note that ``name`` is about to be pulled, an image with its digest."""
    path = root / FOLDER / digest
    with files.explained():
        files.make_folder(path.parent)
        files.write_file(path, "".join(f"{each}\n" for each in sorted({*_names(path), name})))


def require(image: str) -> None:
    """Raise Failed if podman has no image with the id ``image`` any more, or cannot say so."""
    code, output = podman(["image", "exists", image])
    if code not in (0, 1):
        raise Failed(f"podman image exists {image[:12]}: {error(output) or f'exit code {code}'}")
    if code:
        raise Failed(
            f"podman does not have the image {image[:12]} any more, of which this release is made. Somebody removed it."
            " Remove the release with app.remove, and deploy it again."
        )


def identify(name: str) -> str:
    """Return the id of an image that is here."""
    code, output = podman(["image", "inspect", "--format={{.Id}}", name])
    found = re.findall(r"^[0-9a-f]{64}$", output, re.MULTILINE)
    if code or not found:
        raise Failed(f"podman image inspect {name}: {error(output) or f'exit code {code}'}")
    return found[-1]


def tidy(root: Path, used: Callable[[], Container[str]]) -> list[str]:
    """Remove the images that saltdeploy pulled and of which no release is made. Return why others could not be removed.

    :param used: returns the digests of the artifacts of all releases on this node. It is asked under each lock, because
        the job that held the lock may have made a release.
    """
    problems = []
    for path in sorted((root / FOLDER).glob("*")):
        # If the lock is held, another job makes a release of the image. The next call tidies all that this call cannot.
        try:
            with filelocks.hold(_lock(root, path.name), 0):
                if path.name in used():
                    continue
                for name in _names(path):
                    _remove(name)
                path.unlink()
        except (OSError, Failed) as exc:
            problems.append(str(exc).rstrip("."))
    return problems


def _lock(root: Path, digest: str) -> Path:
    path = artifacts.lock(root, digest)
    files.make_folder(path.parent)
    return path


def _names(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().split()
    return []


def _remove(name: str) -> None:
    """Remove an image, with the containers of saltdeploy that a kill or a power failure left of it.

    :raises Failed: a container still runs from it.
    """
    chosen = (f"--filter=label={LABEL}", f"--filter=ancestor={name}")
    _, found = podman(["ps", "--all", "--format={{.ID}} {{.Pid}}", *chosen])
    # podman that was killed counts its container as running for ever. A process of a container has the mark.
    ids = [container for container, pid in CONTAINER.findall(found) if not processes.mark(int(pid))]
    if ids:
        podman(["rm", *FORCE, *ids])
    code, output = podman(["rmi", name])
    # If it is gone, nobody needs to remove it. If a container of somebody else has it, it stays until the next call.
    if code and podman(["image", "exists", name])[0] != 1:
        raise Failed(f"podman rmi {name}: {error(output)}")


def remove_container(name: str) -> str:
    """Remove the container ``name`` whose processes have ended. Return the error, empty if there is none.

    Only podman that was killed leaves its container.
    """
    try:
        code, output = podman(["rm", *FORCE, name])
    except Failed as exc:
        return str(exc)
    return f"podman rm {name}: {error(output)}" if code else ""


def podman(
    words: Sequence[str], seconds: float = limits.PODMAN, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run podman. Return its exit code and its output.

    :raises Failed: there is no podman, or it does not end in time. Then its processes are killed.
    """
    try:
        return commands.execute(["podman", "--log-level=error", *words], "/", env, "", seconds)
    except commands.CommandFailed as exc:
        raise Failed(str(exc)) from exc


def error(output: str) -> str:
    """Return the last error in the output of podman."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error: ")]
    return (errors or lines or [""])[-1].removeprefix("Error: ")
