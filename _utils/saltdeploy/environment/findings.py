"""The mistakes in a folder of pillar, each with its file, its line and its key path. Nobody is asked for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from .. import definition
from ..core import words
from ..core.errors import DefinitionError
from ..definition import inheritance, standins, validation, yamlfile
from .environmentfiles import label

if TYPE_CHECKING:
    from .pillarroots import Contents

# The beginning of a message: its key path, which may have quoted parts.
KEY_PATH = re.compile(r"(?P<path>(apps|environments)(:[^:\n]+)+?): ")
# More mistakes than anybody reads.
MOST = 10_000
# The line that a message of a parser names.
LINE = re.compile(r"\bline (?P<line>[0-9]+)")


class Finding(NamedTuple):
    """A mistake.

    :param file: the file with its folder, for example ``environments/test.sls``. Empty if nobody knows it.
    :param line: its line there, 0 if nobody knows it.
    :param key: the key path, empty if the mistake is in no key.
    :param text: a sentence on the mistake, and its remedy.
    """

    file: str
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        place = ":".join(filter(None, [self.file, str(self.line or "")]))
        return ": ".join(filter(None, [place, self.key, self.text]))


def find(contents: Contents, sealed: bool) -> list[Finding]:
    """Return all mistakes in ``contents``, in the order of files and lines.

    :param sealed: whether gpg ciphertext may stay, because the keys are elsewhere.
    """
    places = _Places(contents)
    read = standins.unsealed(contents.apps, contents.environments) if sealed else (contents.apps, contents.environments)
    pillar = {"apps": read[0], "environments": read[1], "saltdeploy_broken": contents.broken}
    found = {_of_file(file, why) for file, why in contents.broken.items()}
    return sorted(found | {places.of(sentence) for sentence in _sentences(pillar)})


def _sentences(pillar: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each mistake, some of them twice."""
    used: set[str] = set()
    yield from _shared_nodes(pillar["environments"])
    for name in pillar["environments"]:
        if not isinstance(name, str):
            yield f"environments: {inheritance.no_text(name)}"
            continue
        try:
            environment = definition.load(pillar, name, told=MOST)
        except DefinitionError:
            # It tells the mistakes of the environment, and of one app.
            apps = list(_apps_of(pillar, name))
            used |= set(apps)
            for app in (None, *apps):
                yield from _mistakes(pillar, name, app)
            continue
        used |= set(environment.names)
        for why in (*environment.broken.values(), *environment.clashing.values()):
            yield from why.splitlines()
    # An app that no environment has yet has its shape only.
    unused = {"apps": {a: d for a, d in pillar["apps"].items() if a not in used}, "environments": {}}
    for sentences in validation.problems(unused).values():
        yield from sentences


def _shared_nodes(environments: Mapping[Any, Any]) -> Iterator[str]:
    """Yield a sentence on each node of two environments: it would get the pillar of neither."""
    first: dict[Any, Any] = {}
    for name, environment in environments.items():
        for node in inheritance.mapping(environment, "nodes"):
            if node in first:
                key = f"environments:{words.name(name)}:nodes:{words.name(node)}"
                yield f"{key}: is a node of {words.name(first[node])}, too. Keep it in one."
            first.setdefault(node, name)


def _mistakes(pillar: Mapping[str, Any], name: str, app: str | None) -> list[str]:
    try:
        definition.load(pillar, name, app=app, told=MOST)
    except DefinitionError as exc:
        return str(exc).splitlines()
    return []


def _apps_of(pillar: Mapping[str, Any], name: str) -> Iterator[str]:
    try:
        for link in inheritance.chain(pillar["environments"], name):
            yield from (
                app for app in inheritance.mapping(pillar["environments"][link], "apps") if isinstance(app, str)
            )
    except DefinitionError:
        return


def _of_file(file: str, why: str) -> Finding:
    match = LINE.search(why)
    return Finding(file, int(match["line"]) if match else 0, "", why)


class _Places:
    """The places of keys in the files of pillar."""

    def __init__(self, contents: Contents) -> None:
        self.contents = contents
        paths = [*contents.environment_files.values(), *(p for some in contents.app_files.values() for p in some)]
        self._trees = {path: _tree(path) for path in dict.fromkeys(paths)}

    def of(self, sentence: str) -> Finding:
        """Return the Finding of a sentence that begins with a key path."""
        match = KEY_PATH.match(sentence)
        if not match:
            return Finding("", 0, "", sentence)
        key, text = match["path"], sentence[match.end() :]
        path, line = self._place(key.split(":"))
        return Finding(label(path) if path else "", line, key, text)

    def _place(self, keys: list[str]) -> tuple[Path | None, int]:
        """Return the file that has most of ``keys``, and the line of the last of them there."""
        files = self._files(*keys[:2])
        best: tuple[int, Path | None, int] = (0, files[0] if files else None, 0)
        for path in files:
            depth, line = _walk(self._trees[path], keys)
            if depth > best[0]:
                best = (depth, path, line)
        return best[1], best[2]

    def _files(self, kind: str, name: str = "") -> list[Path]:
        """Return the files that a key path may be about. A value of an environment may come from a base of it."""
        if kind == "apps":
            placed = list(self.contents.environment_files.values())
            return [*self.contents.app_files.get(name, ()), *placed]
        try:
            links: Iterable[str] = inheritance.chain(self.contents.environments, name)
        except DefinitionError:
            links = [name]
        found = (self.contents.environment_files.get(link) for link in links)
        return [path for path in found if path]


def _tree(path: Path) -> yaml.Node | None:
    """Return the YAML of a file with its lines. A file with Jinja has none, because its data has other lines."""
    try:
        return yamlfile.compose(path)
    except DefinitionError:
        return None


def _walk(node: yaml.Node | None, keys: list[str]) -> tuple[int, int]:
    """Return how many of ``keys`` lead down from ``node``, and the line of the last of these keys."""
    line = 0
    for depth, key in enumerate(keys):
        found = None
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if isinstance(k, yaml.ScalarNode) and k.value == key), None)
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            found = (node.value[int(key)], node.value[int(key)])
        if found is None:
            return depth, line
        line, node = found[0].start_mark.line + 1, found[1]
    return len(keys), line
