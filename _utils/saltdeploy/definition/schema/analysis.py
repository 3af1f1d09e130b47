"""``analysis`` of a strategy: the gates that each wave must pass."""

from __future__ import annotations

from ...core.forms import A_NAME, DURATION
from ...core.httprequests import Request
from ...core.model import Gate
from .keys import Key, Section
from .probes import HTTP

# A password in a URL would end in messages and logs.
BARE_URL = r"^https?://[^/?#@\s]+"


def _as_in_tests(*names: str) -> dict[str, Key]:
    """Return keys of a request that mean the same as in the ``http`` of a test."""
    return {
        name: Key(
            HTTP.keys[name].schema,
            "As in a test, see :ref:`http <definition-http>`.",
            default=HTTP.keys[name].default,
            reason=HTTP.keys[name].reason,
        )
        for name in names
    }


# A token is a header, of both kinds.
LOGIN = {
    "headers": Key(
        HTTP.keys["headers"].schema,
        (
            "Headers of the request, for example for a login. Write a token into the environment, whose analysis only"
            " the master gets. Nodes that may run the app get the analysis in a file of ``apps``."
        ),
    ),
    **_as_in_tests("ca", "insecure"),
}

MEASURED = Section(
    "measured",
    {
        "url": Key(
            {
                "title": "a URL that may be used",
                "description": "an http:// or https:// URL, a password not in it but in headers",
                "type": "string",
                "pattern": BARE_URL + r"([/?]\S*)?$",
            },
            (
                "The URL of the request, which the master makes without a proxy. ``{app}``, ``{version}`` and"
                " ``{environment}`` are filled in."
            ),
            required=True,
        ),
        "json": Key(
            {
                "title": "a JSON Pointer",
                "description": "a JSON Pointer, such as /data/error_rate. Empty: the whole document is the number",
                "type": "string",
                "pattern": r"^(/.*)?$",
            },
            "The place of the number in the answer, as a JSON Pointer (RFC 6901).",
            required=True,
        ),
        "status": Key(
            HTTP.keys["status"].schema,
            "The accepted statuses of an answer, as ``200``, ``[200, 404]`` or ``2xx``. Without it, any of 2xx.",
        ),
        **_as_in_tests("host", "method", "body", "redirects"),
        **LOGIN,
    },
    defaults=vars(Request),
)

PROMETHEUS = Section(
    "prometheus",
    {
        "url": Key(
            {
                "title": "a URL that may be used",
                "description": "the http:// or https:// URL that /api/v1/query is below, a password in headers",
                "type": "string",
                "pattern": BARE_URL + r"(/[^?#\s]*)?$",
            },
            "The address of Prometheus. The master asks ``/api/v1/query`` below it.",
            required=True,
        ),
        "query": Key(
            {"type": "string", "minLength": 1},
            (
                "PromQL that gives a single number: an instant vector of a single series, or a scalar. ``{app}``,"
                " ``{version}`` and ``{environment}`` are filled in. All other braces belong to PromQL, so write them"
                " once."
            ),
            required=True,
        ),
        **LOGIN,
    },
    defaults=vars(Request),
)

ANALYSIS = Section(
    "analysis",
    {
        "name": Key(
            A_NAME,
            "Its name in messages, the plan and the history. Give each name once.",
            required=True,
        ),
        "http": Key(
            MEASURED.schema,
            "A number in a server's JSON answer. The master asks.",
        ),
        "prometheus": Key(
            PROMETHEUS.schema,
            "A number from a query of Prometheus. The master asks.",
        ),
        "command": Key(
            {"type": "string", "minLength": 1},
            (
                "A command in the release's folder, as the app's user, with the app's environment, at a single instance"
                " of the wave. :ref:`Placeholders <placeholders>` are filled in. No shell runs it. It must end with 0."
                " With ``max`` or ``min``, the last line of its output is the number."
            ),
        ),
        "max": Key(
            {"type": "number"},
            "The maximum of the number.",
        ),
        "min": Key(
            {"type": "number"},
            "The minimum of the number. You need ``max``, ``min`` or both, except with ``command``.",
        ),
        "interval": Key(
            DURATION,
            (
                "The time between two measurements, and between the publication and the first measurement. Clients must"
                " have used the release before it can be measured."
            ),
            default="30s",
            reason=(
                "It is twice the time between two looks of Prometheus at an app in its own example, so each measurement"
                " has news."
            ),
        ),
        "count": Key(
            {"type": "integer", "minimum": 1, "maximum": 1000},
            "The number of measurements.",
            default="3",
            reason=(
                "A single good measurement may be luck. With the default ``interval``, three of them watch a wave for a"
                " minute and a half. Each further measurement makes this longer."
            ),
        ),
        "failure_limit": Key(
            {"type": "integer", "minimum": 0, "maximum": 999},
            (
                "The number of measurements that may be bad or inconclusive. One further such measurement ends the"
                " measuring at once, and reverts. The number is less than ``count``."
            ),
            default="0",
            reason=(
                "Clients have the release already. A bad release that stays costs them more than a second try of a good"
                " release."
            ),
        ),
        "timeout": Key(
            DURATION,
            "The maximum time of a measurement. After that it is inconclusive, and a command is killed.",
            default="10s",
            reason=(
                "It is the timeout of a test. A later answer says nothing good either, and commands of several gates"
                " wait for one another."
            ),
        ),
    },
    defaults=vars(Gate),
)
