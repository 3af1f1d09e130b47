"""Lock files: requirements with exact versions and hashes, as ``uv pip compile --generate-hashes`` makes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..core import urls, words
from ..core.errors import Failed

EXACT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*) *(\[[A-Za-z0-9._, -]*\])? *== *(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_-]*)"
    r" *(;(?P<marker>.*))?"
)
HASH = re.compile("sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")


@dataclass(frozen=True)
class Lock:
    """The content of a lock file.

    :param requirements: a line for each of its projects.
    :param versions: normal name -> version, of each project.
    """

    requirements: tuple[str, ...]
    versions: dict[str, str]

    def of(self, project: str) -> list[str]:
        """Return the lines of one project."""
        return [line for line in self.requirements if _project_of(line) == normal(project)]

    def without(self, project: str) -> list[str]:
        """Return the lines of all other projects."""
        return [line for line in self.requirements if _project_of(line) != normal(project)]


def read(text: str, place: str) -> Lock:
    """Return the content of a lock file.

    :param place: its place, for messages.
    :raises Failed: a line of it is anything else than an exact version with its hashes.
    """
    requirements, versions = [], {}
    for number, line in _lines(text):
        at = f"{place}: line {number}"
        if line.startswith("-"):
            raise Failed(
                f"{at}: {words.shown(line.split()[0])} is an option. A lock file has exact versions with hashes only."
                " Write the index into source:index. pip-compile leaves options out with --no-emit-options and"
                " --no-emit-index-url."
            )
        exact, *hashes = line.split(" --hash=")
        found = EXACT.fullmatch(exact.strip())
        if not found or " --" in (found["marker"] or ""):
            raise Failed(
                f"{at}: {words.shown(urls.without_secrets(line))} is no exact version, for example flask==2.3.3."
            )
        if not hashes or not all(HASH.fullmatch(each.strip()) for each in hashes):
            raise Failed(
                f"{at}: {found['name']} has no hash that can be used. Make the file with `uv pip compile"
                " --generate-hashes`."
            )
        requirements.append(line)
        versions[normal(found["name"])] = found["version"]
    return Lock(tuple(requirements), versions)


def normal(name: str) -> str:
    """Return the name of a project as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _project_of(requirement: str) -> str:
    """Return the normal name of the project that a requirement is about."""
    return normal(re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0])


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the logical lines of a file of requirements, without comments, and the number of their first line."""
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            joined = " ".join(filter(None, parts))
            if joined:
                yield number - len(parts) + 1, joined
            parts = []
    if joined := " ".join(filter(None, parts)):
        yield len(text.splitlines()) - len(parts) + 1, joined
