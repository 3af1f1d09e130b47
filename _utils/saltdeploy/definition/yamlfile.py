"""A YAML file as plain data, as strictly as Salt reads its own: no key twice, and timestamps as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from ..core import bounds, words
from ..core.errors import DefinitionError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from yaml import SafeLoader
else:
    # The loader in C, where PyYAML has it.
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MERGE = "tag:yaml.org,2002:merge"
TIMESTAMP = "tag:yaml.org,2002:timestamp"
CIPHERTEXT = "-----BEGIN PGP MESSAGE-----"
# PyYAML's quotes from a text: a name after & * or !, a character, a wrong number.
QUOTED = re.compile(r"""'.*'|".*"|`.*`""")
# A key that is a name, a version or a path, and has no value in it.
PLAIN = re.compile(r"[A-Za-z0-9_./+~-]{1,60}")


class _Loader(SafeLoader):
    """A loader to which timestamps are text, as in Salt's own loader, and a key that is there twice is an error."""

    yaml_constructors: ClassVar[dict[Any, Any]] = {
        **SafeLoader.yaml_constructors,
        TIMESTAMP: SafeLoader.construct_yaml_str,
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._looked_at: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # After a node is flattened, the keys that it merges are among its own.
        if id(node) not in self._looked_at:
            self._looked_at.add(id(node))
            _no_key_twice(node)
        super().flatten_mapping(node)
        if len(node.value) > bounds.ENTRIES:
            raise _OurOwn(None, None, "merges too many keys", node.start_mark)


def shebang(path: str | os.PathLike[str]) -> str:
    """Return the renderers in the first line of the file ``path`` (``#!yaml|gpg``), or an empty text."""
    try:
        with open(path, "rb") as file:
            first = file.readline(200)
    except OSError:
        return ""
    return first[2:].decode("utf-8", "replace").strip() if first.startswith(b"#!") else ""


def load(path: str | os.PathLike[str]) -> Any:
    """Return the data in the YAML file ``path``.

    :raises DefinitionError: it cannot be read, is too large or is no YAML. The message has the file, and the line if
        there is one.
    """
    text = _read(path)
    _measure(path, text)
    try:
        return yaml.load(text, Loader=_Loader)
    except DefinitionError:
        raise
    # PyYAML's own constructors raise these on `!!int x`, `!!bool x`, or a number of 5000 digits.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as exc:
        said = _jinja(text, exc) or problem(exc)
    raise DefinitionError(f"{path}: {said}")


def compose(path: str | os.PathLike[str]) -> yaml.Node | None:
    """Return the YAML in the file ``path`` as nodes, which know their lines. None if it is empty.

    :raises DefinitionError: as for :func:`load`.
    """
    text = _read(path)
    _measure(path, text)
    try:
        return yaml.compose(text, Loader=SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise DefinitionError(f"{path}: {problem(exc)}") from None


def _read(path: str | os.PathLike[str]) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(bounds.FILE + 1)
    except OSError as exc:
        raise DefinitionError(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(raw) > bounds.FILE:
        raise DefinitionError(f"{path}: has more than {bounds.FILE} bytes: split it, one file for each environment.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        place = f"{exc.reason} at byte {exc.start}"
    raise DefinitionError(f"{path}: is not UTF-8: {place}")


def problem(exc: Exception) -> str:
    """Return PyYAML's message, with the line, and without its quotes from the text: they may be secret."""
    mark, said = getattr(exc, "problem_mark", None), getattr(exc, "problem", None) or ""
    if not isinstance(exc, _OurOwn):
        said = QUOTED.sub("something", said)
    return words.message(f"is not YAML: {_line(mark)}{said or 'a value is not as its tag says'}.")


def _line(mark: object) -> str:
    """Return the line of PyYAML's ``mark`` for a message, or an empty text if there is no mark."""
    number = getattr(mark, "line", None)
    return "" if number is None else f"line {number + 1}: "


def _jinja(text: str, exc: Exception) -> str:
    """Return the message on ``exc`` if Jinja in ``text`` caused it, else an empty text."""
    mark = getattr(exc, "problem_mark", None)
    for number, line in enumerate(text.splitlines(), 1):
        if "{%" in line or ("{{" in line and mark and mark.line + 1 == number):
            return (
                f"is not YAML: line {number} has Jinja, and a file of environments is plain YAML. Write the value"
                " itself there, a secret as gpg ciphertext. Values that need Jinja belong to the app's file in apps/."
            )
    return ""


def is_ciphertext(value: object) -> bool:
    """Return whether ``value`` is text with a gpg message in it."""
    return isinstance(value, str) and CIPHERTEXT in value


def ciphertexts(value: object, keys: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Yield the key path of each gpg message in ``value``, plain data."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ciphertexts(inner, (*keys, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from ciphertexts(inner, (*keys, number))
    elif is_ciphertext(value):
        yield keys


class _OurOwn(yaml.constructor.ConstructorError):
    """A mistake that this module finds: its message quotes keys only."""


def _measure(path: str | os.PathLike[str], text: str) -> None:
    """Raise DefinitionError on a text that would overflow the stack of the C parser, or grow by too many aliases."""
    depth = aliases = 0
    said = ""
    try:
        for event in yaml.parse(text, Loader=SafeLoader):
            depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
            depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > bounds.DEPTH:
                said = f"more than {bounds.DEPTH} mappings and lists deep"
            if aliases > bounds.ALIASES:
                said = f"more than {bounds.ALIASES} aliases (*name)"
            if said:
                said = f"{_line(event.start_mark)}{said}"
                break
    except yaml.YAMLError as exc:
        said = _jinja(text, exc) or problem(exc)
    if said:
        raise DefinitionError(f"{path}: {said}")


def _no_key_twice(node: yaml.MappingNode) -> None:
    seen: set[tuple[str, str]] = set()
    for key, value in node.value:
        if key.tag == MERGE and isinstance(value, yaml.SequenceNode) and len(value.value) > bounds.MERGED:
            raise _OurOwn(None, None, f"`<<` merges more than {bounds.MERGED} mappings", key.start_mark)
        if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
            if (key.tag, key.value) in seen:
                raise _OurOwn(None, None, f"found {_key(key.value)} a second time", key.start_mark)
            seen.add((key.tag, key.value))


def _key(key: str) -> str:
    """Return a key for a message, and nothing of it if it may be more than a name."""
    return f"the key {words.shown(key)}" if PLAIN.fullmatch(key) else "a key"
