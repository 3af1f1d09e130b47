"""``checks`` and ``tests`` of an app."""

from __future__ import annotations

from ...core.forms import DURATION, text
from ...core.httprequests import Request
from ...core.model import Probe
from ..probes import TEST_TIMEOUT
from .keys import FILE, HEADER, ROOTED, Key, Section, mapping

STATUS = {"type": "integer", "minimum": 100, "maximum": 599}
CLASS = text("a class of statuses", "a class of statuses: 1xx, 2xx, 3xx, 4xx or 5xx", "^[1-5]xx$")
STATUSES = {
    "title": "a status",
    "description": "a status, a class of statuses such as 2xx, or a list of these",
    "examples": ["2xx"],
    "anyOf": [STATUS, CLASS, {"type": "array", "items": {"anyOf": [STATUS, CLASS]}, "minItems": 1}],
}
# The headers of a request, of a check, a test or a gate.
HEADERS = mapping({"type": "string", "writeOnly": True}, HEADER)
LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# How many results in a row may change the status of a check, at most.
MOST_RESULTS = 100
RESULTS = {"type": "integer", "minimum": 1, "maximum": MOST_RESULTS}

HTTP = Section(
    "http",
    {
        "path": Key(
            ROOTED,
            (
                "The path, with a query if there is one. In a test, the placeholders ``{version}``, ``{app}``,"
                " ``{environment}``, ``{node}``, ``{address}`` and ``{port}`` work in it. Any other brace stays."
            ),
            required=True,
        ),
        "status": Key(
            STATUSES,
            "The accepted statuses of an answer, as ``200``, ``[200, 204]`` or ``2xx``. Only in tests.",
            default="200",
            reason=(
                "An existing page answers with it. An empty answer (204) or a redirect is no page. A check belongs to"
                " Consul, which accepts any 2xx and nothing else."
            ),
        ),
        "contains": Key(
            {"type": "string"},
            "Text that the answer must contain, with the same placeholders as ``path``. Only in tests.",
        ),
        "host": Key(
            text(
                "a host",
                "a host name, with or without a port: shop.example.com",
                rf"^(?=.{{1,253}}$){LABEL}(\.{LABEL})*(:[0-9]{{1,5}})?$",
            ),
            (
                "The ``Host`` header. With ``https``, the certificate must have this name in its ``subjectAltName``."
                " Its common name does not count. The server gets the name as SNI. Without this key, it is the"
                " instance's address. An ``https`` check with it needs Consul 1.10."
            ),
        ),
        "method": Key(
            {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]},
            "The method of the request.",
            default="GET",
            reason=(
                "It changes nothing in an app that follows HTTP. Consul repeats a check every ``interval``, at each"
                " instance."
            ),
        ),
        "headers": Key(
            HEADERS,
            (
                "Further headers, for example for a login. They are sent as they are written. See"
                " :ref:`secrets of a request <request-secrets>`."
            ),
        ),
        "body": Key(
            {"type": "string", "writeOnly": True},
            "Text that is sent as it is written. Give its ``Content-Type`` in ``headers``.",
        ),
        "redirects": Key(
            {"type": "boolean"},
            (
                "Whether redirects are followed, ten at most. Another server gets neither ``headers`` nor ``body`` from"
                " a test. Without redirects, each ``https`` check needs Consul 1.12, and so does an ``http`` check with"
                " any of the keys from ``host`` on. Consul follows the redirects of an ``http`` check that is a path"
                " alone."
            ),
            default="false",
            reason="A redirect may lead to another instance, or to a login page that always answers.",
        ),
        "ca": Key(
            FILE,
            (
                "A file with CA certificates in PEM that the certificate must be signed by, on the machine that runs"
                " the test. Only in tests, with ``https``. Without it, the CA certificates of that machine count."
            ),
        ),
        "insecure": Key(
            {"type": "boolean"},
            "Whether any certificate is accepted. Only with ``https``.",
            default="false",
            reason=(
                "A wrong or expired certificate would break clients too, so it should fail a test. Write ``true`` for a"
                " certificate that no client verifies."
            ),
        ),
    },
    defaults={**vars(Request), "status": Probe.status},
)

PATH_OR_MORE = {
    "description": "a path that begins with /, without blanks, or a mapping with path and more",
    "anyOf": [ROOTED, HTTP.schema],
}

GRPC = Section(
    "grpc",
    {
        "service": Key(
            text("a service", "the name of a gRPC service: shop.v1.Orders", r"^[A-Za-z_][A-Za-z0-9_.]{0,253}$"),
            "The service whose health is asked for. Without it, the health of the whole server counts.",
        ),
        "tls": Key(
            {"type": "boolean"},
            "Whether the connection uses TLS. Consul verifies the certificate by the CA certificates of its node.",
            default="false",
            reason="Most programs serve gRPC without TLS inside a private network.",
        ),
        "host": Key(
            HTTP.keys["host"].schema,
            "The name that the certificate must have. Only with ``tls``. It needs Consul 1.10.",
        ),
        "insecure": Key(
            {"type": "boolean"},
            "Whether any certificate is accepted. Only with ``tls``.",
            default="false",
            reason="Clients verify the certificate, so a wrong one should fail the check.",
        ),
    },
    defaults={**vars(Request), "tls": False},
)

CHECK = Section(
    "check",
    {
        "http": Key(
            PATH_OR_MORE,
            (
                "A request to the instance, see :ref:`http <definition-http>`. The answer must have a status of 2xx. To"
                " Consul, 429 is a warning."
            ),
        ),
        "https": Key(
            PATH_OR_MORE,
            (
                "The same with TLS. Consul verifies the certificate by the CA certificates of its node. It follows"
                " redirects only with ``redirects: true``. Otherwise it must be 1.12 or newer, also for a path alone."
            ),
        ),
        "tcp": Key(
            {"const": True},
            "A connection to the instance's port must succeed.",
        ),
        "grpc": Key(
            {"title": "a gRPC check", "description": "true, or a mapping", "anyOf": [{"const": True}, GRPC.schema]},
            (
                "The standard health service of gRPC at the instance's port must answer ``SERVING``. ``true`` asks for"
                " the whole server, without TLS. See :ref:`grpc <definition-grpc>`."
            ),
        ),
        "script": Key(
            {"type": "string", "minLength": 1},
            (
                "A command in the release's folder, as the app's user, with the app's environment."
                " :ref:`Placeholders <placeholders>` are filled in. No shell runs it. 0 passes, 1 is a warning, and any"
                " other exit code is critical. See :ref:`script-checks`."
            ),
        ),
        "ttl": Key(
            DURATION,
            (
                "The app itself reports its health to Consul. The check is critical if no report comes for this time."
                " See :ref:`ttl-checks`."
            ),
        ),
        "interval": Key(
            DURATION,
            "The time between two runs of the check by Consul. Not with ``ttl``.",
            default="2s",
            reason=(
                "Consul notices a dead instance after this time at most. After a restart of an agent, clients miss the"
                " node's instances for as long. A shorter interval puts load on the app for little gain."
            ),
        ),
        "timeout": Key(
            DURATION,
            (
                "The maximum time for an answer. Until an instance is ready, it is 5s at most, and then the node asks"
                " again. A ``script`` that takes longer is killed, with its children. Not with ``ttl``."
            ),
            default="5s",
            reason=(
                "With ``interval`` it is less than ``min_healthy_time``, so a wave notices a hanging release before it"
                " retires the old release. A shorter time would take out instances that are slow under load."
            ),
        ),
        "success_before_passing": Key(
            RESULTS,
            (
                "The number of good results in a row after which a critical check passes again. The first result after"
                " a registration counts at once."
            ),
            default="1",
            reason="An instance that answers again serves clients again, without a delay.",
        ),
        "failures_before_critical": Key(
            RESULTS,
            (
                "The number of bad results in a row after which a passing check becomes critical. The first result"
                " after a registration counts at once. ``min_healthy_time`` must be longer than so many times"
                " ``interval`` and ``timeout`` together."
            ),
            default="1",
            reason="Clients get no instance that failed a check. Raise it for a check that fails by chance.",
        ),
    },
    defaults=vars(Probe),
)

TEST = Section(
    "test",
    {
        "http": Key(
            PATH_OR_MORE,
            "A request to the instance, see :ref:`http <definition-http>`. A path alone is a GET request.",
        ),
        "https": Key(
            PATH_OR_MORE,
            "The same with TLS. The certificate is verified, and the instance's address or ``host`` must be in it.",
        ),
        "tcp": Key(
            {"const": True},
            "A connection to the instance's port must succeed.",
        ),
        "command": Key(
            {"type": "string", "minLength": 1},
            (
                "A command in the release's folder, as the app's user, with the app's environment. It must end with 0."
                " :ref:`Placeholders <placeholders>` are filled in. No shell runs it. From the node only."
            ),
        ),
        "from": Key(
            {"enum": ["node", "peer", "master"]},
            "The origin of the test: the instance's own node, another node of the environment, or the master.",
            default="node",
            reason=(
                "It costs no further Salt job, because the job that starts the instance also tests it. Only there does"
                " a command have its release."
            ),
        ),
        "timeout": Key(
            DURATION,
            "The maximum duration. A command that takes longer is killed, with its children.",
            default="10s",
            reason=(
                "The first answer after a start may take seconds. An answer after this time, while nobody else asks, is"
                " too late for clients. Each test may hold up its wave for so long."
            ),
        ),
    },
    defaults={"from": Probe.origin, "timeout": TEST_TIMEOUT},
)
