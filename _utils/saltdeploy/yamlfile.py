"""A YAML file as plain data, as strictly as Salt reads its own: no key twice, and nothing that is not text as text."""

from __future__ import annotations

import yaml

from . import bounds, words
from .errors import DefinitionError

MERGE = "tag:yaml.org,2002:merge"
TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Timestamps are text, as in Salt's own loader; a key that is there twice is an error."""

    def __init__(self, stream):
        super().__init__(stream)
        self._looked_at = set()

    def flatten_mapping(self, node):
        # Once a node is flattened, the keys it merges are among its own.
        if id(node) not in self._looked_at:
            self._looked_at.add(id(node))
            _no_key_twice(node)
        super().flatten_mapping(node)
        if len(node.value) > bounds.ENTRIES:
            raise yaml.constructor.ConstructorError(None, None, "merges too many keys", node.start_mark)


_Loader.add_constructor(TIMESTAMP, _Loader.construct_yaml_str)


def is_program(path):
    """Return whether the first line of the file ``path`` is a shebang; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def load(path):
    """Return what the YAML file ``path`` holds.

    :raises DefinitionError: with the file, and the line if there is one: it cannot be read, is too large, is no YAML.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(bounds.FILE + 1)
        if len(raw) > bounds.FILE:
            raise DefinitionError(
                f"{path}: has more than {bounds.FILE} bytes: split it, one file for each environment."
            )
        text = raw.decode("utf-8-sig")
        _measure(path, text)
        return yaml.load(text, Loader=_Loader)
    except OSError as exc:
        raise DefinitionError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise DefinitionError(f"{path}: is not UTF-8: {exc.reason} at byte {exc.start}") from exc
    # What PyYAML's own constructors raise on `!!int x`, `!!bool x`, a number of 5000 digits.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as exc:
        raise DefinitionError(f"{path}: is not YAML: {words.message(' '.join(str(exc).split()))}") from exc


def _measure(path, text):
    """Raise DefinitionError on what would overflow the stack of the parser, which is C's, or make much of little."""
    depth = aliases = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        depth += isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
        depth -= isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent))
        aliases += isinstance(event, yaml.AliasEvent)
        line = event.start_mark.line + 1
        if depth > bounds.DEPTH:
            raise DefinitionError(f"{path}: line {line}: more than {bounds.DEPTH} mappings and lists deep")
        if aliases > bounds.ALIASES:
            raise DefinitionError(f"{path}: line {line}: more than {bounds.ALIASES} aliases (*name)")


def _no_key_twice(node):
    seen = set()
    for key, value in node.value:
        if key.tag == MERGE and isinstance(value, yaml.SequenceNode) and len(value.value) > bounds.MERGED:
            raise yaml.constructor.ConstructorError(
                None, None, f"`<<` merges more than {bounds.MERGED} mappings", key.start_mark
            )
        if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"found the key {words.shown(key.value)} a second time", key.start_mark
                )
            seen.add((key.tag, key.value))
