"""Whether definitions are as the schema has them, and what is said where they are not."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import json
import math
import re

from . import words
from .errors import DefinitionError, Refused
from .schema import PILLAR
from .words import nearest, shown

# How many mistakes are looked for: only one is told.
MISTAKES = 100

TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text (quote a number)",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def validate(definitions):
    """Check ``{"apps": …, "environments": …}`` against the schema.

    :raises DefinitionError: naming key path, what was found, what is allowed.
    :raises Refused: jsonschema is not installed.
    """
    try:
        import jsonschema
    except ImportError:
        raise Refused("jsonschema is not installed on the master: `salt-pip install jsonschema`.") from None
    errors = sorted(
        itertools.islice(_validator(jsonschema)(PILLAR).iter_errors(definitions), MISTAKES),
        key=lambda e: [str(p) for p in e.absolute_path],
    )
    if errors:
        some = f"{len(errors) - 1}{' or' if len(errors) == MISTAKES else ''}"
        more = f" ({some} more like it)" if len(errors) > 1 else ""
        raise DefinitionError(_explain(errors[0]) + more)


def validate_again(definitions):
    """Check what the master has validated before: a node may lack jsonschema."""
    if importlib.util.find_spec("jsonschema"):
        validate(definitions)


def digest(definitions):
    """Return what two definitions have in common only if they are the same, keys as text, and the schema is."""
    return f"{_digest(definitions)} by {_schema()}"


@functools.cache
def _schema():
    return _digest(PILLAR)


def _digest(value):
    return hashlib.sha256(json.dumps(value, default=repr).encode()).hexdigest()


def _validator(jsonschema):
    """Return the validator without Python's and YAML's leniency: a last newline, 3.0 as integer, .nan and .inf."""

    def pattern(_validator, wanted, instance, _schema):
        if isinstance(instance, str) and not re.search(wanted.replace("$", r"\Z"), instance):
            yield jsonschema.ValidationError(f"{instance!r} does not match {wanted}")

    def number(_checker, value):
        return integer(_checker, value) or (isinstance(value, float) and math.isfinite(value))

    def integer(_checker, value):
        return isinstance(value, int) and not isinstance(value, bool)

    draft = jsonschema.Draft202012Validator
    types = draft.TYPE_CHECKER.redefine_many({"number": number, "integer": integer})
    return jsonschema.validators.extend(draft, {"pattern": pattern}, type_checker=types)


def _explain(error):
    path = words.path(error.absolute_path)
    allowed = error.schema
    if error.validator == "additionalProperties":
        known = sorted(allowed.get("properties", {}))
        stray = sorted(set(error.instance) - set(known), key=str)[0]
        about = f"{_about(stray)}{nearest(stray, known)}"
        return f"{path}:{words.name(stray)}: unknown key{about}. Allowed here: {', '.join(known)}"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))[0]
        return f"{path}:{missing}: is missing"
    wanted = {
        "type": lambda v: TYPES[v] if isinstance(v, str) else " or ".join(TYPES[t] for t in v),
        "enum": lambda v: "one of " + ", ".join(map(str, v)),
        "pattern": lambda v: f"text matching {v}",
        "minimum": lambda v: f"at least {v}",
        "maximum": lambda v: f"at most {v}",
        "exclusiveMinimum": lambda v: f"more than {v}",
        "minItems": lambda v: f"a list of at least {v}",
        "minLength": lambda v: f"text of at least {v} character",
        "const": lambda v: str(v).lower(),
    }.get(error.validator, lambda v: error.message)(error.validator_value)
    what = "the name " if "propertyNames" in error.schema_path else ""
    found = "what is not shown, since it may be a secret" if allowed.get("writeOnly") else shown(error.instance)
    about = _about(error.instance) if _text(error, allowed) and not allowed.get("writeOnly") else ""
    return f"{path}: found {what}{found}, allowed is {allowed.get('description', wanted)}{about}"


def _text(error, allowed):
    """Return whether text was wanted where something is wrong, so that what YAML makes of text matters."""
    options = allowed.get("anyOf", [allowed])
    return error.validator == "pattern" or any("string" in str(option.get("type")) for option in options)


def _about(value):
    return words.odd(value) if isinstance(value, str) else words.reading(value)
