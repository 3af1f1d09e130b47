"""What a definition may hold, made from the schema and from what the code makes of an empty definition."""

from __future__ import annotations

from meanings import MEANINGS
from saltdeploy import cluster, definition, schema
from saltdeploy.discovery import DEFAULT_URL
from saltdeploy.model import Gate, Hook

ENVIRONMENT = schema.ENVIRONMENTS["additionalProperties"]

# Each mapping of the schema, under the name its table has.
SECTIONS = {
    "app": schema.APPS["additionalProperties"],
    "source": schema.SOURCE,
    "check": schema.CHECK,
    "test": schema.TEST,
    "hooks": schema.HOOKS,
    "hook": schema.HOOK,
    "resources": schema.RESOURCES,
    "frontend": schema.FRONTEND,
    "http": next(s for s in schema.HTTP["anyOf"] if s.get("type") == "object"),
    "environment": ENVIRONMENT,
    "node": ENVIRONMENT["properties"]["nodes"]["additionalProperties"],
    "discovery": ENVIRONMENT["properties"]["discovery"],
    "consul": schema.CONSUL,
    "cluster": schema.CLUSTER,
    "dns": schema.DNS,
    "notify": schema.NOTIFY,
    "webhook": schema.WEBHOOK,
    "strategy": schema.STRATEGY,
    "analysis": schema.GATE,
    "measured": schema.MEASURED,
    "prometheus": schema.PROMETHEUS,
}

NAMES = {
    "app, environment, service": schema.NAME,
    "version": schema.VERSION,
    "node (minion id)": schema.MINION,
    "user": schema.USER,
}

SIMPLE = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
UNITS = {3600: "h", 60: "m", 1: "s"}


def undocumented():
    """Return what keeps the tables from being true: keys without a meaning, meanings without a key."""
    problems = [f"no table has the keys {sorted(keys)}" for keys in _mappings(schema.PILLAR) if not _has_table(keys)]
    for name in sorted({*SECTIONS, *MEANINGS}):
        keys, meanings = set(SECTIONS.get(name, {}).get("properties", ())), set(MEANINGS.get(name, ()))
        problems += [f"{name}: {key} has no meaning" for key in sorted(keys - meanings)]
        problems += [f"{name}: {key} is no key of the schema" for key in sorted(meanings - keys)]
    return problems


def rows(name):
    """Return the rows of the table ``name``: ``(key, type, default, meaning)``, as reStructuredText."""
    section, defaults = SECTIONS[name], _defaults().get(name, {})
    for key, allowed in section["properties"].items():
        default = "*required*" if key in section["required"] else _shown(defaults.get(key))
        yield f"``{key}``", _allowed(allowed), default, MEANINGS[name][key]


def _mappings(found):
    """Yield the keys of every mapping with named keys in a schema, below its top."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        if key == "properties" and found is not schema.PILLAR:
            yield set(value)
        if isinstance(value, (dict, list)):
            yield from _mappings(value)


def _has_table(keys):
    return any(keys == set(section["properties"]) for section in SECTIONS.values())


def _defaults():
    """Return what each key is when it is left out: seen in what becomes of a definition without it."""
    pillar = {
        "apps": {"shop": {"source": {"pip": "shop"}, "run": "a"}},
        "environments": {"e": {"nodes": {"n": {"address": "a"}}, "apps": {"shop": {}}}},
    }
    app = definition.load(pillar).apps["shop"].__dict__
    probe = definition.probe({"http": "/"}, "").__dict__
    return {
        "app": {**app, "user": app["user"].replace("shop", "<app>")},
        "source": app["source"].__dict__,
        "check": probe,
        "test": {**probe, "from": probe["origin"]},
        "hook": Hook("").__dict__,
        "http": probe,
        "environment": {"scale": 1},
        "cluster": {"datacenter": cluster.DATACENTER},
        "dns": {"resolver": "dnsmasq"},
        "frontend": {"mode": "http"},
        "consul": {"agent": DEFAULT_URL, "servers": [DEFAULT_URL]},
        "strategy": app["strategy"].__dict__,
        "analysis": Gate("", "").__dict__,
    }


def _shown(value):
    if isinstance(value, bool):
        return f"``{str(value).lower()}``"
    if isinstance(value, float):
        return f"``{_duration(value)}``"
    if isinstance(value, (tuple, list)) and value:
        return "``[" + ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value) + "]``"
    if isinstance(value, (str, int)) and value != "":
        return f"``{value}``"
    return "–"


def _duration(seconds):
    unit = next((u for u in UNITS if not seconds % u), 1)
    return f"{seconds / unit:g}{UNITS[unit]}"


def _allowed(allowed):
    """Return what a schema allows, in words."""
    for name, section in SECTIONS.items():
        if allowed.get("properties", {}).keys() == section["properties"].keys():
            return f":ref:`mapping <definition-{name}>`"
    if allowed is schema.DURATION:
        return ":ref:`duration <durations>`"
    if "description" in allowed:
        return allowed["description"]
    if "const" in allowed:
        return f"``{str(allowed['const']).lower()}``"
    if "enum" in allowed:
        return ", ".join(f"``{value}``" for value in allowed["enum"])
    if allowed["type"] == "array":
        return f"list of: {_allowed(allowed['items'])}"
    if allowed["type"] == "object":
        return f"mapping of name to: {_allowed(allowed['additionalProperties'])}"
    types = [allowed["type"]] if isinstance(allowed["type"], str) else allowed["type"]
    return ", ".join(SIMPLE[t] for t in types) + _limits(allowed)


def _limits(allowed):
    low, high = allowed.get("minimum"), allowed.get("maximum")
    if "exclusiveMinimum" in allowed:
        return f", more than {allowed['exclusiveMinimum']}, at most {high}"
    return f", {low} to {high}" if low is not None else ""
