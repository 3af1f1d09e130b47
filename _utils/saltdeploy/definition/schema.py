"""JSON Schema of the pillar keys ``apps`` and ``environments``.

It is the reference of the allowed keys and values: descriptions here are the reference documentation.

A message on a wrong value uses ``title``, ``description`` and the first of ``examples``. It quotes the value only if
the key has ``examples``, or takes a number, true, false or a word from a list. No other key is free of secrets.
"""

from __future__ import annotations

from ..core.events import EVENTS
from ..core.forms import A_NAME, A_VERSION, ADDRESS, DURATION, FOLDER, INSIDE, INSTANCES, MINION, UPSTREAM, USER
from ..core.forms import text as _text
from ..core.phases import PHASES

STRINGS = {"type": "array", "items": {"type": "string"}}
# They hold no secret, so messages quote them.
WORDS = {**STRINGS, "examples": [["python3"]]}
ROOTED = _text("a path", "a path that begins with /", "^/")
DIGEST = _text("a SHA-256", "a SHA-256: 64 hexadecimal digits", r"^[0-9a-fA-F]{64}$")
PLACE = r"^(salt|https?|file)://|^/"


def _object(properties, required=(), **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _map(values, keys=None):
    """Return the schema of a mapping of names, which match the schema ``keys``, to ``values``."""
    return {"type": "object", "additionalProperties": values, "propertyNames": keys or {"type": "string"}}


HTTP = {
    "description": "a path, or path, status and contains",
    "anyOf": [
        ROOTED,
        _object(
            {
                "path": ROOTED,
                "status": {"type": "integer", "minimum": 100, "maximum": 599},
                "contains": {"type": "string"},
            },
            ["path"],
        ),
    ],
}

# A value that may be secret is writeOnly: no message shows it.
HEADER = _text(
    "the name of a header", "the name of a header: letters, digits and -", r"^[A-Za-z0-9-]+$", writeOnly=True
)
SECRET_HEADERS = {
    "type": "object",
    "propertyNames": HEADER,
    "additionalProperties": _text(
        "the value of a header", "printable ASCII", r"^[!-~]([ -~]*[!-~])?\n?$", writeOnly=True
    ),
    "writeOnly": True,
}

SOURCE = _object(
    {
        "archive": _text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
        "pip": _text(
            "a project", "a project, with its extras if any", r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?$"
        ),
        "sha256": {
            "description": "a digest, a URL of one, or a mapping of version (text: quote a number) to digest",
            "anyOf": [
                _text("a digest", "a digest, or a URL of one", f"^[0-9a-fA-F]{{64}}$|{PLACE}"),
                _map(DIGEST, A_VERSION),
            ],
        },
        "strip": {"type": "integer", "minimum": 0, "maximum": 8},
        "requirements": STRINGS,
        "python": {"type": "string", "minLength": 1},
        "index": _text(
            "a URL",
            "an http:// or https:// URL, a password not in it but in netrc",
            r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        ),
        "headers": SECRET_HEADERS,
        "token_file": _text("a path", "a path that begins with /", "^/"),
        "netrc": _text("a path", "a path that begins with /", "^/"),
    }
)

CHECK = _object(
    {
        "http": ROOTED,
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
    "description": "a command, or command, timeout, once and on_failure, or a list of these",
    "anyOf": [*COMMAND["anyOf"], {"type": "array", "items": COMMAND}],
}

HOOKS = _object(dict.fromkeys(PHASES, COMMANDS))

# A password in a URL would end in messages and logs.
BARE_URL = r"^https?://[^/?#@\s]+"
HEADERS = _map({"type": "string", "writeOnly": True}, HEADER)

MEASURED = _object(
    {
        "url": {
            "title": "a URL that may be used",
            "description": "an http:// or https:// URL, a password not in it but in headers",
            "type": "string",
            "pattern": BARE_URL + r"([/?]\S*)?$",
        },
        "json": {
            "title": "a JSON Pointer",
            "description": "a JSON Pointer, such as /data/error_rate. Empty: the whole document is the number",
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
            "title": "a URL that may be used",
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
        "name": A_NAME,
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
        "type": {
            "enum": ["rolling", "recreate", "blue_green"],
            "renamed": {"beside": "rolling", "in_place": "recreate"},
        },
        "waves": {
            "type": "array",
            "minItems": 1,
            "items": {
                "title": "a number of nodes or a percentage",
                "description": "a number of nodes, or a percentage",
                "examples": ["50%"],
                "anyOf": [
                    {"type": "integer", "minimum": 1},
                    {"type": "string", "pattern": r"^([1-9][0-9]?|100)%$"},
                ],
            },
        },
        "max_failures": {
            "title": "a number of nodes or a percentage",
            "description": "a number of nodes, or a percentage",
            "examples": ["10%"],
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^([1-9]?[0-9]|100)%$"}],
        },
        "min_healthy_time": DURATION,
        "healthy_deadline": DURATION,
        "progress_deadline": DURATION,
        "drain": DURATION,
        "deregister_delay": DURATION,
        "auto_revert": {"type": "boolean"},
        "keep_old": DURATION,
        "pause": {
            "title": "a pause",
            "description": "manual, or a duration: seconds, or 500ms, 10s, 5m, 1h",
            "examples": ["30m"],
            "anyOf": [{"const": "manual"}, DURATION],
        },
        "canary_weight": {
            "title": "a canary's traffic",
            "description": "full, none, or a percentage from 1% to 99%",
            "examples": ["5%"],
            "anyOf": [{"enum": ["full", "none"]}, {"type": "string", "pattern": r"^[1-9][0-9]?%$"}],
            "renamed": {"candidate": "none"},
        },
        "when_paused": {"enum": ["refuse", "supersede"]},
        "keep_releases": {"type": "integer", "minimum": 1, "maximum": 1000},
        "analysis": {"type": "array", "items": GATE},
    },
    # Names of earlier versions: they are refused, and the message has the present name.
    renamed={
        "min_healthy": "min_healthy_time",
        "grace": "deregister_delay",
        "replace": "type",
        "canary": "canary_weight",
        "warm": "keep_old",
    },
)

RESOURCES = _object(
    {
        "memory": _text("a size", "a number of bytes, or a number with K, M, G or T", r"^[1-9][0-9]*[KMGT]?$", "512M"),
        "cpu": _text("a percentage", "a percentage of one processor", r"^[1-9][0-9]*%$", "200%"),
    }
)

STOP = _object(
    {
        "signal": {"enum": ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"]},
        "timeout": DURATION,
    }
)

FRONTEND = _object(
    {
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "mode": {"enum": ["http", "tcp"]},
        "timeout": DURATION,
        "trusted_proxies": {"type": "array", "items": {"type": "string", "examples": ["10.0.0.5"]}},
    },
    ["port"],
)

APP_PROPERTIES = {
    "source": SOURCE,
    "run": {"type": "string", "minLength": 1},
    "user": _text("a user", "a user of the system: a-z, 0-9, _ and -, at most 32 characters", USER, "app-shop"),
    "data": {
        "title": "a place for data",
        "description": "true, false, or an absolute path without ..",
        "examples": ["true"],
        "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": FOLDER}],
    },
    "packages": WORDS,
    "states": WORDS,
    "config": _map(
        _text("a template", "a salt:// URL of a template", r"^salt://"),
        _text("a path", "a path below the instance's folder, without ..", INSIDE, "etc/shop.ini"),
    ),
    "env": _map(
        {"type": ["string", "number", "boolean"]},
        _text("a variable", "the name of a variable: letters, digits and _", r"^[A-Za-z_][A-Za-z0-9_]*$"),
    ),
    "ports": {
        "title": "a port or a range of ports",
        "description": "a port, or a range first-last",
        "examples": ["20000-20099"],
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": r"^[0-9]{1,5}-[0-9]{1,5}$"},
        ],
    },
    "resources": RESOURCES,
    "stop": STOP,
    "frontend": FRONTEND,
    "requires": {"type": "array", "items": A_NAME},
    "roles": WORDS,
    "checks": {"type": "array", "items": CHECK},
    "tests": {"type": "array", "items": TEST},
    "hooks": HOOKS,
    "strategy": STRATEGY,
}

PLACED = {
    "version": A_VERSION,
    "instances": INSTANCES,
}

APPS = _map(_object({**APP_PROPERTIES, **PLACED}, ["source", "run"]), A_NAME)

HTTP_URL = _text("a URL", "a URL that begins with http:// or https://", r"^https?://")

CONSUL = _object(
    {
        "datacenter": _text("a datacenter", "letters, digits, _ and -", r"^[A-Za-z0-9_-]*$", "dc1"),
        "agent": HTTP_URL,
        "servers": {"type": "array", "minItems": 1, "items": HTTP_URL},
        "token": _text("a token", "a token, without spaces", r"^[!-~]*$", writeOnly=True),
        "ca": {"type": "string"},
    }
)

CLUSTER = _object(
    {
        "version": _text("a version of Consul", "three numbers", r"^[0-9]+\.[0-9]+\.[0-9]+$", "1.22.3"),
        "source": _text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
        "sha256": _text("a digest", "a SHA-256, or a URL or a path of one", f"^[0-9a-fA-F]{{64}}$|{PLACE}"),
        "datacenter": A_NAME,
        "services": {"type": "array", "items": A_NAME},
    },
    ["version"],
)

DNS = _object(
    {
        "resolver": {"enum": ["dnsmasq", "unbound", "systemd-resolved"]},
        "upstream": {
            "type": "array",
            "items": _text(
                "the address of a name server", "an IP address, and a port if need be", UPSTREAM, "192.0.2.1"
            ),
        },
    }
)

# A value that may be secret is writeOnly: no message shows it.
WEBHOOK = _object(
    {
        "url": _text("a URL", "an http:// or https:// URL, in ASCII", r"^https?://[!-~]+$", writeOnly=True),
        "headers": {
            **_map(_text("the value of a header", "printable ASCII", r"^[ -~]*$", writeOnly=True), HEADER),
            "writeOnly": True,
        },
        "token_file": _text("a path", "a path that begins with /", "^/", writeOnly=True),
        "events": {"type": "array", "items": {"enum": list(EVENTS)}},
    },
    writeOnly=True,
)

NOTIFY = _object({"webhook": WEBHOOK}, writeOnly=True)

ENVIRONMENTS = _map(
    _object(
        {
            "based_on": A_NAME,
            "scale": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            "nodes": _map(
                _object(
                    {
                        "address": _text("an address", "an IP address, IPv4 or IPv6", ADDRESS, "10.0.0.11"),
                        "roles": WORDS,
                        "zone": A_NAME,
                    },
                    ["address"],
                ),
                _text("the id of a minion", "letters, digits and . _ -", MINION, "web1"),
            ),
            "discovery": _object({"consul": CONSUL}),
            "consul": CLUSTER,
            "dns": DNS,
            "notify": NOTIFY,
            "apps": _map(_object({**APP_PROPERTIES, **PLACED}), A_NAME),
            "strategy": STRATEGY,
        },
        ["nodes"],
    ),
    A_NAME,
)

PILLAR = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"apps": APPS, "environments": ENVIRONMENTS},
}
# A node gets only a part of an app that may not run there, see appfiles.
OF_NODE = {
    **PILLAR,
    "properties": {"apps": _map(_object({**APP_PROPERTIES, **PLACED}), A_NAME), "environments": ENVIRONMENTS},
}
