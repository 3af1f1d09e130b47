"""The check of definitions against the schema, and the messages on their mistakes."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import json
import math
import re
from typing import TYPE_CHECKING, Any, Protocol

from ..core import advice, bounds, words
from ..core.errors import DefinitionError, Refused
from ..core.words import nearest
from . import yamlfile
from .schema import OF_NODE, PILLAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import ModuleType

    class SchemaError(Protocol):
        """An error of jsonschema, as far as messages need it."""

        absolute_path: Sequence[str | int]
        absolute_schema_path: Sequence[str | int]
        schema_path: Sequence[str | int]
        schema: Mapping[str, Any]
        validator: str
        validator_value: Any
        instance: Any
        context: Sequence[SchemaError]


# How many mistakes of an app, or of the environment, are looked for, and how many a message lists.
MISTAKES, TOLD = 100, 12
SEALED = (
    "is gpg ciphertext that was not decrypted. The master needs gpg, and the key in its gpgkeys folder. In a file of"
    " apps/ the first line must name gpg, too: #!jinja|yaml|gpg."
)
# The part of a definition that belongs to no app.
ENVIRONMENT = ""


def problems(definitions: Mapping[str, Any], schema: Mapping[str, Any] = PILLAR) -> dict[str, list[str]]:
    """Return the mistakes in ``{"apps": …, "environments": …}``: ``{app: sentences}``, without apps that are right.

    The environment itself is under ``""``. An app's mistakes are in no other app's sentences.

    :raises Refused: jsonschema is not installed.
    """
    try:
        import jsonschema
    except ImportError:
        raise Refused("jsonschema is not installed on the master: `salt-pip install jsonschema`.") from None
    validator = _validator(jsonschema)(schema)
    found = {part: _problems(validator, own) for part, own in _parts(definitions).items()}
    return {part if isinstance(part, str) else words.shown(part): said for part, said in found.items() if said}


def problems_again(definitions: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Return :func:`problems` of definitions that the master has checked, or None if the node has no jsonschema."""
    return problems(definitions, OF_NODE) if importlib.util.find_spec("jsonschema") else None


def listed(sentences: Sequence[str], told: int = TOLD) -> str:
    """Return sentences as a message: each on its line, the first ``told`` of them."""
    more = len(sentences) - told
    rest = [f"… and {more}{' or' if len(sentences) >= MISTAKES else ''} more"] if more > 0 else []
    return "\n".join([*sentences[:told], *rest])


def digest(definitions: Mapping[str, Any]) -> str:
    """Return a digest that is the same only for the same definitions, with keys as text, and the same schema."""
    return f"{_digest(definitions)} by {_schema()}"


@functools.cache
def _schema() -> str:
    return _digest(PILLAR)


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, default=repr).encode()).hexdigest()


def _parts(definitions: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """Return the definitions in parts: ``{"": without any app, app: all that is written of it}``."""
    apps, environments = definitions["apps"], definitions["environments"]
    rest = {n: _without_apps(e) for n, e in environments.items()}
    parts: dict[Any, dict[str, Any]] = {ENVIRONMENT: {"environments": rest}}
    for app in dict.fromkeys([*apps, *(a for e in environments.values() for a in _apps(e))]):
        placed = {n: {"nodes": {}, "apps": {app: _apps(e)[app]}} for n, e in environments.items() if app in _apps(e)}
        parts[app] = {**({"apps": {app: apps[app]}} if app in apps else {}), "environments": placed}
    return parts


def _without_apps(environment: Any) -> Any:
    """Return an environment without its apps, except apps that are no mapping: they are the environment's mistake."""
    if not isinstance(environment, dict) or not isinstance(environment.get("apps"), dict):
        return environment
    return {key: value for key, value in environment.items() if key != "apps"}


def _apps(environment: object) -> dict[Any, Any]:
    apps = environment.get("apps") if isinstance(environment, dict) else None
    return apps if isinstance(apps, dict) else {}


def _problems(validator: Any, definitions: Mapping[str, Any]) -> list[str]:
    try:
        bounds.check(definitions)
    except DefinitionError as exc:
        return [str(exc)]
    errors = sorted(
        itertools.islice(validator.iter_errors(definitions), MISTAKES),
        key=lambda e: [str(p) for p in e.absolute_path],
    )
    sealed = [f"{words.path(keys, definitions)}: {SEALED}" for keys in yamlfile.ciphertexts(definitions)]
    found = [sentence for error in errors for sentence in _explain(error, definitions)]
    return list(dict.fromkeys([*sealed, *found]))


@functools.cache
def _validator(jsonschema: ModuleType) -> Any:
    """Return the validator without Python's and YAML's leniency: a last newline, 3.0 as integer, .nan and .inf."""

    def pattern(_validator: Any, wanted: str, instance: object, _schema: Any) -> Iterator[Exception]:
        if isinstance(instance, str) and not re.search(wanted.replace("$", r"\Z"), instance):
            yield jsonschema.ValidationError("has another form")

    def number(_checker: Any, value: object) -> bool:
        return integer(_checker, value) or (isinstance(value, float) and math.isfinite(value))

    def integer(_checker: Any, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    draft = jsonschema.Draft202012Validator
    types = draft.TYPE_CHECKER.redefine_many({"number": number, "integer": integer})
    return jsonschema.validators.extend(draft, {"pattern": pattern}, type_checker=types)


def _explain(error: SchemaError, definitions: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence on each mistake that an error of jsonschema is about, with its key path."""
    path, allowed, value = words.path(error.absolute_path, definitions), error.schema, error.instance
    if "propertyNames" in error.absolute_schema_path:
        yield _misnamed(error, definitions)
    elif error.validator == "additionalProperties":
        yield from _unknown(error.absolute_path, allowed, value, definitions)
    elif error.validator == "required":
        yield from (f"{path}:{key}: is missing." for key in error.validator_value if key not in value)
    elif error.validator == "anyOf" and _meant(error):
        for inner in _meant(error):
            yield from _explain(inner, definitions)
    elif error.validator in LIMITS:
        yield f"{path}: {LIMITS[error.validator].format(found=words.shown(value), limit=error.validator_value)}"
    else:
        yield f"{path}: {advice.wrong(allowed, value)}"


# These messages quote no list and no text: it may be a secret.
LIMITS = {
    "minimum": "{found} is too small. Write at least {limit}.",
    "maximum": "{found} is too large. Write at most {limit}.",
    "exclusiveMinimum": "{found} is too small. Write more than {limit}.",
    "minItems": "the list is empty. Write at least {limit}.",
    "minLength": "the text is empty. Write at least {limit} character.",
}


def _misnamed(error: SchemaError, definitions: Mapping[str, Any]) -> str:
    """Return a sentence on a key of a wrong form, without a value that is a part of it."""
    allowed, key, keys = error.schema, error.instance, error.absolute_path
    if _space(key) or not advice.may_be_shown(allowed, key):
        keys, allowed = (*keys, key), {**allowed, "writeOnly": True}
    return f"{words.path(keys, definitions)}: {advice.wrong(allowed, key)}{_space(key)}"


def _space(key: object) -> str:
    """Return the advice for a key that has its value in it, or an empty text for any other key."""
    if words.without_value(key) == key:
        return ""
    return " YAML needs a colon and a space between a key and its value."


def _unknown(
    keys: Iterable[object], allowed: Mapping[str, Any], value: Mapping[Any, Any], definitions: Mapping[str, Any]
) -> Iterator[str]:
    known = sorted(allowed.get("properties", {}))
    for stray in sorted(set(value) - set(known), key=str):
        about = words.odd(stray) if isinstance(stray, str) else words.reading(stray)
        said = nearest(words.without_value(stray), known) if _space(stray) else f"{about}{nearest(stray, known)}"
        path = words.path((*keys, stray), definitions)
        if stray in allowed.get("renamed", ()):
            yield f"{path}: unknown key. Write `{_renamed(allowed, stray, value[stray])}`."
        else:
            yield f"{path}: unknown key{said}.{_space(stray)} Allowed here: {', '.join(known)}"


def _renamed(allowed: Mapping[str, Any], old: str, value: object) -> str:
    """Return the present name of the key ``old``, with its value if that has another name, too."""
    name = allowed["renamed"][old]
    values = allowed["properties"][name].get("renamed", {})
    return f"{name}: {values[value]}" if isinstance(value, str) and value in values else name


def _meant(error: SchemaError) -> list[SchemaError]:
    """Return the errors of the form that was meant, of several allowed forms: only one is a mapping or a list."""
    options = error.schema["anyOf"]
    kinds: dict[type, str] = {dict: "object", list: "array"}
    kind = kinds.get(type(error.instance))
    chosen = [number for number, option in enumerate(options) if kind and option.get("type") == kind]
    return [inner for inner in error.context if inner.schema_path[0] in chosen]
