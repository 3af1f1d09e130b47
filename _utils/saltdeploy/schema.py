"""JSON Schema of the pillar keys ``apps`` and ``environments``.

It is the reference of what may be written: descriptions here are the reference documentation.
"""

from __future__ import annotations

from .events import EVENTS
from .model import PHASES

NAME = r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$"  # a DNS label that leaves room for "-candidate"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+~-]{0,62}$"
MINION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"
ADDRESS = r"^[A-Za-z0-9:][A-Za-z0-9.:%-]{0,252}$"
USER = r"^[a-z_][a-z0-9_-]{0,31}$"
INSIDE = r"^(?!/)(?!(.*/)?\.\.(/|$))."  # a relative path without ".."
DURATION = {
    "description": "a number of seconds, or a number with a unit: 500ms, 10s, 5m, 1h",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"}],
}
STRINGS = {"type": "array", "items": {"type": "string"}}
DIGEST = {"type": "string", "pattern": r"^[0-9a-fA-F]{64}$"}


def _object(properties, required=(), **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _map(values, keys=None):
    schema = {"type": "object", "additionalProperties": values}
    return {**schema, "propertyNames": {"type": "string", "pattern": keys}} if keys else schema


HTTP = {
    "description": "a path, or path, status and contains",
    "anyOf": [
        {"type": "string", "pattern": "^/"},
        _object(
            {
                "path": {"type": "string", "pattern": "^/"},
                "status": {"type": "integer", "minimum": 100, "maximum": 599},
                "contains": {"type": "string"},
            },
            ["path"],
        ),
    ],
}

# What may be a secret is writeOnly: no message shows what was found there.
SECRET_HEADERS = {
    "type": "object",
    "propertyNames": {"type": "string", "pattern": r"^[A-Za-z0-9-]+$", "writeOnly": True},
    "additionalProperties": {"type": "string", "pattern": r"^[!-~]([ -~]*[!-~])?\n?$", "writeOnly": True},
    "writeOnly": True,
}

SOURCE = _object(
    {
        "archive": {"type": "string", "pattern": r"^(salt|https?|file)://|^/"},
        "pip": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?$"},
        "sha256": {
            "description": "a digest, a URL of one, or a mapping of version (text: quote a number) to digest",
            "anyOf": [
                DIGEST,
                {"type": "string", "pattern": r"^(salt|https?|file)://|^/"},
                _map(DIGEST, VERSION),
            ],
        },
        "strip": {"type": "integer", "minimum": 0, "maximum": 8},
        "requirements": STRINGS,
        "python": {"type": "string", "minLength": 1},
        "index": {
            "description": "an http:// or https:// URL, a password not in it but in netrc",
            "type": "string",
            "pattern": r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        },
        "headers": SECRET_HEADERS,
        "token_file": {"type": "string", "pattern": "^/"},
        "netrc": {"type": "string", "pattern": "^/"},
    }
)

CHECK = _object(
    {
        "http": {"type": "string", "pattern": "^/"},
        "tcp": {"const": True},
        "interval": DURATION,
        "timeout": DURATION,
    }
)

TEST = _object(
    {
        "http": HTTP,
        "tcp": {"const": True},
        "command": {"type": "string", "minLength": 1},
        "from": {"enum": ["node", "peer", "master"]},
        "timeout": DURATION,
    }
)

HOOK = _object(
    {
        "command": {"type": "string", "minLength": 1},
        "timeout": DURATION,
        "once": {"type": "boolean"},
        "on_failure": {"enum": ["revert", "freeze"]},
    },
    ["command"],
)

COMMAND = {
    "description": "a command, or command, timeout, once and on_failure",
    "anyOf": [{"type": "string", "minLength": 1}, HOOK],
}

COMMANDS = {
    "description": "a command, or command, timeout, once and on_failure; or a list of these",
    "anyOf": [*COMMAND["anyOf"], {"type": "array", "items": COMMAND}],
}

HOOKS = _object(dict.fromkeys(PHASES, COMMANDS))

# A password in a URL would end in messages and logs.
BARE_URL = r"^https?://[^/?#@\s]+"
HEADERS = _map({"type": "string", "writeOnly": True}, r"^[A-Za-z0-9-]+$")

MEASURED = _object(
    {
        "url": {
            "description": "an http:// or https:// URL, a password not in it but in headers",
            "type": "string",
            "pattern": BARE_URL + r"([/?]\S*)?$",
        },
        "json": {
            "description": "a JSON Pointer: /data/error_rate; empty: the whole document is the number",
            "type": "string",
            "pattern": r"^(/.*)?$",
        },
        "headers": HEADERS,
    },
    ["url", "json"],
)

PROMETHEUS = _object(
    {
        "url": {
            "description": "the http:// or https:// URL that /api/v1/query is below, a password in headers",
            "type": "string",
            "pattern": BARE_URL + r"(/[^?#\s]*)?$",
        },
        "query": {"type": "string", "minLength": 1},
        "headers": HEADERS,
    },
    ["url", "query"],
)

GATE = _object(
    {
        "name": {"type": "string", "pattern": NAME},
        "http": MEASURED,
        "prometheus": PROMETHEUS,
        "command": {"type": "string", "minLength": 1},
        "max": {"type": "number"},
        "min": {"type": "number"},
        "interval": DURATION,
        "count": {"type": "integer", "minimum": 1, "maximum": 1000},
        "failure_limit": {"type": "integer", "minimum": 0, "maximum": 999},
        "timeout": DURATION,
    },
    ["name"],
)

STRATEGY = _object(
    {
        "replace": {"enum": ["beside", "in_place", "blue_green"]},
        "waves": {
            "type": "array",
            "minItems": 1,
            "items": {
                "description": "a number of nodes, or a percentage",
                "anyOf": [
                    {"type": "integer", "minimum": 1},
                    {"type": "string", "pattern": r"^([1-9][0-9]?|100)%$"},
                ],
            },
        },
        "max_failures": {
            "description": "a number of nodes, or a percentage",
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^([1-9]?[0-9]|100)%$"}],
        },
        "min_healthy": DURATION,
        "healthy_deadline": DURATION,
        "progress_deadline": DURATION,
        "drain": DURATION,
        "grace": DURATION,
        "auto_revert": {"type": "boolean"},
        "warm": DURATION,
        "pause": {
            "description": "manual, or a duration: seconds, or 500ms, 10s, 5m, 1h",
            "anyOf": [{"const": "manual"}, DURATION],
        },
        "canary": {
            "description": "full, candidate, or a percentage from 1% to 99%",
            "anyOf": [{"enum": ["full", "candidate"]}, {"type": "string", "pattern": r"^[1-9][0-9]?%$"}],
        },
        "when_paused": {"enum": ["refuse", "supersede"]},
        "keep_releases": {"type": "integer", "minimum": 1, "maximum": 1000},
        "analysis": {"type": "array", "items": GATE},
    }
)

RESOURCES = _object(
    {
        "memory": {"type": "string", "pattern": r"^[1-9][0-9]*[KMGT]?$"},
        "cpu": {"type": "string", "pattern": r"^[1-9][0-9]*%$"},
    }
)

FRONTEND = _object(
    {
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "mode": {"enum": ["http", "tcp"]},
    },
    ["port"],
)

APP_PROPERTIES = {
    "source": SOURCE,
    "run": {"type": "string", "minLength": 1},
    "user": {"type": "string", "pattern": USER},
    "packages": STRINGS,
    "states": STRINGS,
    "config": _map({"type": "string", "pattern": r"^salt://"}, INSIDE),
    "env": _map({"type": ["string", "number", "boolean"]}, r"^[A-Za-z_][A-Za-z0-9_]*$"),
    "ports": {
        "description": "a port, or a range first-last",
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": r"^[0-9]{1,5}-[0-9]{1,5}$"},
        ],
    },
    "resources": RESOURCES,
    "frontend": FRONTEND,
    "requires": {"type": "array", "items": {"type": "string", "pattern": NAME}},
    "roles": STRINGS,
    "checks": {"type": "array", "items": CHECK},
    "tests": {"type": "array", "items": TEST},
    "hooks": HOOKS,
    "strategy": STRATEGY,
}

PLACED = {
    "version": {"type": "string", "pattern": VERSION},
    "instances": {"type": "integer", "minimum": 1, "maximum": 1000},
}

APPS = _map(_object({**APP_PROPERTIES, **PLACED}, ["source", "run"]), NAME)

CONSUL = _object(
    {
        "datacenter": {"type": "string", "pattern": r"^[A-Za-z0-9_-]*$"},
        "agent": {"type": "string", "pattern": r"^https?://"},
        "servers": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": r"^https?://"}},
        "token": {"type": "string", "pattern": r"^[!-~]*$", "writeOnly": True},
        "ca": {"type": "string"},
    }
)

CLUSTER = _object(
    {
        "version": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+\.[0-9]+$"},
        "source": {"type": "string", "pattern": r"^(salt|https?|file)://|^/"},
        "sha256": {"type": "string", "pattern": r"^[0-9a-fA-F]{64}$|^(salt|https?|file)://|^/"},
        "datacenter": {"type": "string", "pattern": NAME},
        "services": {"type": "array", "items": {"type": "string", "pattern": NAME}},
    },
    ["version"],
)

DNS = _object(
    {
        "resolver": {"enum": ["dnsmasq", "unbound", "systemd-resolved"]},
        "upstream": STRINGS,
    }
)

# What may be a secret is writeOnly: no message shows what was found there.
WEBHOOK = _object(
    {
        "url": {"type": "string", "pattern": r"^https?://[!-~]+$", "writeOnly": True},
        "headers": {
            "type": "object",
            "propertyNames": {"type": "string", "pattern": r"^[A-Za-z0-9-]+$", "writeOnly": True},
            "additionalProperties": {"type": "string", "pattern": r"^[ -~]*$", "writeOnly": True},
            "writeOnly": True,
        },
        "token_file": {"type": "string", "pattern": "^/"},
        "events": {"type": "array", "items": {"enum": list(EVENTS)}},
    },
    writeOnly=True,
)

NOTIFY = _object({"webhook": WEBHOOK}, writeOnly=True)

ENVIRONMENTS = _map(
    _object(
        {
            "based_on": {"type": "string", "pattern": NAME},
            "scale": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            "nodes": _map(
                _object(
                    {
                        "address": {"type": "string", "pattern": ADDRESS},
                        "roles": STRINGS,
                        "zone": {"type": "string", "pattern": NAME},
                    },
                    ["address"],
                ),
                MINION,
            ),
            "discovery": _object({"consul": CONSUL}),
            "consul": CLUSTER,
            "dns": DNS,
            "notify": NOTIFY,
            "apps": _map(_object({**APP_PROPERTIES, **PLACED}), NAME),
            "strategy": STRATEGY,
        },
        ["nodes"],
    ),
    NAME,
)

PILLAR = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"apps": APPS, "environments": ENVIRONMENTS},
}
