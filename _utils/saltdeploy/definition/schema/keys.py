"""The declaration of the keys of a definition, and the forms of values that several sections have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core.forms import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...core.forms import Schema

# They hold no secret, so messages quote them.
WORDS = {"type": "array", "items": {"type": "string"}, "examples": [["python3"]]}
# A path in a URL, and the path of a file.
ROOTED = text("a path", "a path that begins with /, without blanks", r"^/\S*$")
FILE = text("a path", "a path that begins with /, in one line", r"^/[^\n]*$")
PLACE = r"^(salt|https?|file)://|^/"
# A header may be secret: no message shows a value that is writeOnly.
HEADER = text("the name of a header", "the name of a header: letters, digits and -", r"^[A-Za-z0-9-]+$", writeOnly=True)


# Nodes import the keys for every job. Dataclasses would take much of the time of that.
class Key:
    """A key of a definition.

    :param schema: the JSON Schema of its value.
    :param meaning: its meaning, a paragraph of reStructuredText for the reference.
    :param default: its default as the reference shows it. The docs fail to build if the code has another default.
    :param otherwise: in place of ``default``, the default in words, if no value in the code says it.
    :param reason: why this is the default, in sentences. Another default needs another reason.
    """

    def __init__(
        self,
        schema: Schema,
        meaning: str,
        *,
        default: str = "",
        otherwise: str = "",
        reason: str = "",
        required: bool = False,
    ) -> None:
        self.schema = schema
        self.meaning = meaning
        self.default = default
        self.otherwise = otherwise
        self.reason = reason
        self.required = required


class Section:
    """A mapping with fixed keys, which the reference shows as a table.

    :param name: the name of the table.
    :param defaults: the defaults in the code: key -> value. A dataclass has them in its ``vars``.
    :param instead: required key -> the schemas of mappings that need no such key.
    :param more: further keywords of the JSON Schema.
    """

    def __init__(
        self,
        name: str,
        keys: dict[str, Key],
        defaults: Mapping[str, object] | None = None,
        instead: Mapping[str, Sequence[Schema]] | None = None,
        **more: object,
    ) -> None:
        self.name = name
        self.keys = keys
        self.defaults = defaults or {}
        choices = [
            {"if": {"not": {"anyOf": list(others)}}, "then": {"required": [key]}}
            for key, others in (instead or {}).items()
        ]
        self.schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: key.schema for name, key in keys.items()},
            "required": [name for name, key in keys.items() if key.required and name not in (instead or {})],
            "additionalProperties": False,
            **({"allOf": choices} if choices else {}),
            **more,
        }


def optional(section: Section) -> dict[str, Any]:
    """Return the schema of a mapping that may have the keys of ``section``, and needs none of them."""
    return {**{key: value for key, value in section.schema.items() if key != "allOf"}, "required": []}


def mapping(values: Schema, keys: Schema | None = None) -> dict[str, Any]:
    """Return the schema of a mapping of names, which match the schema ``keys``, to ``values``."""
    return {"type": "object", "additionalProperties": values, "propertyNames": keys or {"type": "string"}}
