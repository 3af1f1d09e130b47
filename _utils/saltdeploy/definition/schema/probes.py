"""``checks`` and ``tests`` of an app."""

from __future__ import annotations

from ...core.forms import DURATION
from ...core.model import Probe
from ..appdefinition import TEST_TIMEOUT
from .keys import ROOTED, Key, Section

CHECK = Section(
    "check",
    {
        "http": Key(
            ROOTED,
            "A path. The answer must have a status of 2xx.",
        ),
        "tcp": Key(
            {"const": True},
            "A connection to the instance's port must succeed. Give one of ``http`` and ``tcp``.",
        ),
        "interval": Key(
            DURATION,
            "The time between two runs of the check by Consul.",
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
                " again."
            ),
            default="5s",
            reason=(
                "With ``interval`` it is less than ``min_healthy_time``, so a wave notices a hanging release before it"
                " retires the old release. A shorter time would take out instances that are slow under load."
            ),
        ),
    },
    defaults=vars(Probe),
)

HTTP = Section(
    "http",
    {
        "path": Key(
            ROOTED,
            (
                "The path, with a query if there is one. The placeholders ``{version}``, ``{app}``, ``{environment}``,"
                " ``{node}``, ``{address}`` and ``{port}`` work in it. Any other brace stays."
            ),
            required=True,
        ),
        "status": Key(
            {"type": "integer", "minimum": 100, "maximum": 599},
            "The status that the answer must have.",
            default="200",
            reason=(
                "An existing page answers with it. An empty answer (204) or a redirect is no page. A check belongs to"
                " Consul and accepts any 2xx."
            ),
        ),
        "contains": Key(
            {"type": "string"},
            "Text that the answer must contain, with the same placeholders as ``path``.",
        ),
    },
    defaults=vars(Probe),
)

PATH_OR_MORE = {"description": "a path, or path, status and contains", "anyOf": [ROOTED, HTTP.schema]}

TEST = Section(
    "test",
    {
        "http": Key(
            PATH_OR_MORE,
            "A GET request to the instance. Redirects are not followed, because they may lead to another instance.",
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
