"""Stand-ins for gpg ciphertext where its key is elsewhere, so that the rest of a definition can be looked at. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import origins, yamlfile
from .schema import APPS, ENVIRONMENTS

TEXT = "sealed"
# A schema.
Form = Mapping[str, Any]


def unsealed(apps: Mapping[str, Any], environments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``apps`` and ``environments`` with a value that its key allows in place of each ciphertext."""
    return (
        {app: _open(about, APPS["additionalProperties"]) for app, about in apps.items()},
        {name: _open(about, ENVIRONMENTS["additionalProperties"]) for name, about in environments.items()},
    )


def _open(value: Any, form: Form) -> Any:
    if isinstance(value, dict):
        return {key: _open(inner, origins.below(form, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_open(item, origins.below(form, number)) for number, item in enumerate(value)]
    return _allowed(form) if yamlfile.is_ciphertext(value) else value


def _allowed(form: Form) -> Any:
    """Return a value that ``form`` allows, as far as a single key decides."""
    for each in (*form.get("anyOf", ()), form):
        if each.get("enum"):
            return each["enum"][0]
        kinds = each.get("type") or ()
        if "boolean" in kinds:
            return True
        if "string" in kinds and ("pattern" not in each or re.search(each["pattern"], TEXT)):
            return TEXT
        if each.get("examples"):
            return each["examples"][0]
        if {"number", "integer"} & ({kinds} if isinstance(kinds, str) else set(kinds)):
            return max(1, each.get("minimum", 1))
    return TEXT
