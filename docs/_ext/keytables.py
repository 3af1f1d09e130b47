"""What a definition may hold, made from the schema and from what the code makes of an empty definition."""

from __future__ import annotations

from meanings import MEANINGS
from reasons import REASONS
from saltdeploy import definition
from saltdeploy.core import forms
from saltdeploy.core.model import AGENT, Frontend, Gate, Hook
from saltdeploy.definition import appdefinition, cluster, schema

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
    "stop": schema.STOP,
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
    "app, environment, service": forms.NAME,
    "version": forms.VERSION,
    "node (minion id)": forms.MINION,
    "user": forms.USER,
}

SIMPLE = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
UNITS = {3600: "h", 60: "m", 1: "s"}
REQUIRED, NONE = "*required*", "–"

# What no value says: what is done where these keys are left out. Without any other key nothing is done.
IN_WORDS = {
    "app": {"roles": "``app``", "checks": "a TCP connection"},
    "source": {"python": "the system's python3", "index": "the node's own"},
    "environment": {"discovery": "Consul on each machine"},
    "consul": {"datacenter": "the agent's own"},
    "cluster": {"source": "the master, else HashiCorp", "sha256": "HashiCorp's SHA256SUMS"},
    "dns": {"upstream": "the node's own"},
    "webhook": {"events": "all"},
}


def undocumented():
    """Return what keeps the tables from being true: a key without a meaning, a default without a reason, and so on."""
    problems = [f"no table has the keys {sorted(keys)}" for keys in _mappings(schema.PILLAR) if not _has_table(keys)]
    for name in sorted({*SECTIONS, *MEANINGS}):
        keys, meanings = set(SECTIONS.get(name, {}).get("properties", ())), set(MEANINGS.get(name, ()))
        problems += [f"{name}: {key} has no meaning" for key in sorted(keys - meanings)]
        problems += [f"{name}: {key} is no key of the schema" for key in sorted(meanings - keys)]
    return problems + _unreasoned()


def _unreasoned():
    """Return which defaults that the tables show have no reason, and which reasons are for another default, or none."""
    problems = []
    for name in sorted({*SECTIONS, *REASONS}):
        defaults = {k: shown.strip("`") for k, shown in _shown_defaults(name).items() if shown not in (REQUIRED, NONE)}
        meant = {key: default for key, (default, _) in REASONS.get(name, {}).items()}
        for key in sorted({*defaults, *meant}):
            if key not in meant:
                problems.append(f"{name}: {key} has the default {defaults[key]}, and no reason for it")
            elif key not in defaults:
                problems.append(f"{name}: {key} has no default, and a reason for {meant[key]}")
            elif defaults[key] != meant[key]:
                problems.append(f"{name}: {key} has the default {defaults[key]}, and its reason is for {meant[key]}")
    return problems


def rows(name):
    """Return the rows of the table ``name``: ``(key, type, default, meaning)``, as reStructuredText."""
    for key, default in _shown_defaults(name).items():
        why = f"\n\nWhy {default}? {REASONS[name][key][1]}" if key in REASONS.get(name, ()) else ""
        yield f"``{key}``", _allowed(SECTIONS[name]["properties"][key]), default, MEANINGS[name][key] + why


def _shown_defaults(name):
    """Return what the table ``name`` shows as the default of each key."""
    section, in_words, values = SECTIONS.get(name, {}), IN_WORDS.get(name, {}), _defaults().get(name, {})
    return {
        key: REQUIRED if key in section["required"] else in_words.get(key) or _shown(values.get(key))
        for key in section.get("properties", ())
    }


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
        "environments": {"e": {"nodes": {"n": {"address": "192.0.2.1"}}, "apps": {"shop": {}}}},
    }
    app = definition.load(pillar).apps["shop"].__dict__
    probe = appdefinition.probe({"http": "/"}, "").__dict__
    return {
        "app": {**app, "user": app["user"].replace("shop", "<app>")},
        "source": app["source"].__dict__,
        "check": probe,
        "test": {**probe, "from": probe["origin"], "timeout": appdefinition.TEST_TIMEOUT},
        "hook": Hook("").__dict__,
        "http": probe,
        "environment": {"scale": 1},
        "cluster": {"datacenter": cluster.DATACENTER},
        "dns": {"resolver": "dnsmasq"},
        "frontend": Frontend(0).__dict__,
        "consul": {"agent": AGENT, "servers": [AGENT]},
        "stop": app["stop"].__dict__,
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
    return NONE


def _duration(seconds):
    if not seconds:
        return "0"
    unit = next((u for u in UNITS if not seconds % u), 1)
    return f"{seconds / unit:g}{UNITS[unit]}"


def _allowed(allowed):
    """Return what a schema allows, in words."""
    for name, section in SECTIONS.items():
        if allowed.get("properties", {}).keys() == section["properties"].keys():
            return f":ref:`mapping <definition-{name}>`"
    if allowed is forms.DURATION:
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
