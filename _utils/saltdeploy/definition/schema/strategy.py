"""``strategy`` of an environment or an app: the way in which a deployment proceeds."""

from __future__ import annotations

from ...core.forms import DURATION
from ...core.model import Strategy
from .analysis import ANALYSIS
from .keys import Key, Section

STRATEGY = Section(
    "strategy",
    {
        "type": Key(
            {
                "enum": ["rolling", "recreate", "blue_green"],
                "renamed": {"beside": "rolling", "in_place": "recreate"},
            },
            (
                "``rolling``: a new instance runs beside the old instance. After the new instance is published, the old"
                " instance is retired. ``recreate`` is for an app with one port. If the old instance has that port, it"
                " is retired first. Never more than half of the instances are out at once. But a single instance is"
                " down until its successor is published. See :doc:`/explanation/deployment`. ``blue_green``: all new"
                " instances run and pass their tests before any is published. Then all of them are published, and all"
                " old instances are withdrawn. It needs two ports for each instance. See :doc:`/howto/bluegreen`."
            ),
            default="rolling",
            reason=(
                "The old instance serves until clients find the new instance. ``recreate`` takes capacity away"
                " meanwhile, and ``blue_green`` needs all ports and memory twice."
            ),
        ),
        "waves": Key(
            {
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
            (
                "The cumulative sizes of the waves, as numbers or percentages. A size counts the nodes that have their"
                " new instances when the wave is over, of all nodes that get any. A last wave of 100% is implied."
            ),
            default='[1, "100%"]',
            reason=(
                "Faults that only clients find affect a single node. Each further wave takes ``min_healthy_time`` and"
                " some seconds more, and seldom finds faults that the first wave did not."
            ),
        ),
        "max_failures": Key(
            {
                "title": "a number of nodes or a percentage",
                "description": "a number of nodes, or a percentage",
                "examples": ["10%"],
                "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^([1-9]?[0-9]|100)%$"}],
            },
            (
                "The number or the part (rounded down) of the deployment's nodes that may fail to install or to start"
                " the release. A deployment leaves them out, see :ref:`failure-budget`."
            ),
            default="0",
            reason=(
                "With few nodes, you want all of them alike. With many nodes, only you know how many may be left"
                " behind."
            ),
        ),
        "min_healthy_time": Key(
            DURATION,
            (
                "The time for which all new instances of a wave must stay healthy before the wave retires the old"
                " instances. It counts from the first result that Consul has of each check. A check notices a hanging"
                " release within its ``interval`` and ``timeout`` together. ``deploy.plan`` warns if"
                " ``min_healthy_time`` is shorter than that."
            ),
            default="10s",
            reason=(
                "This is the time of five checks at their default ``interval``, which detect a process that starts and"
                " crashes again. A longer time makes each wave longer. Nomad has the same."
            ),
        ),
        "healthy_deadline": Key(
            DURATION,
            (
                "The maximum time for the new instances of a node from their start until they are ready. The instances"
                " of a wave have the same time again until clients find them healthy. Without this key, the first"
                " deployment of an app may give up after a minute. It does so if a process keeps answering its check"
                " with a client error (404) or a redirect. It does not give up early if the process listens on another"
                " port only."
            ),
            default="5m",
            reason=(
                "A shorter time reverts apps that load data for minutes. With a longer time, an instance that never"
                " gets ready holds up its deployment for longer. Nomad has the same."
            ),
        ),
        "progress_deadline": Key(
            DURATION,
            (
                "The maximum time for the installation, and for each wave until it is healthy. A candidate that is"
                " still not published after that leaves discovery by itself."
            ),
            default="10m",
            reason=(
                "A wave may need ``healthy_deadline`` twice: until its instances are ready, and until clients find"
                " them. A shorter time would cut that off. An installation has as long. Nomad has the same."
            ),
        ),
        "drain": Key(
            DURATION,
            "The maximum time to wait for open connections of a retired instance.",
            default="30s",
            reason=(
                "Draining ends with the last connection, so only clients that keep theirs open cost the wave so much. A"
                " shorter time cuts off long requests. Kamal has the same."
            ),
        ),
        "deregister_delay": Key(
            DURATION,
            (
                "The minimum time for which a retired instance serves on after it left the catalog, for clients that"
                " still have its address. It is at most ``drain``."
            ),
            default="2s",
            reason=(
                "HAProxy, as it is set up here, asks once a second, and gets an answer that is a tenth of a second old."
                " Instances that stopped at once lost requests. A longer delay makes each wave longer."
            ),
        ),
        "auto_revert": Key(
            {"type": "boolean"},
            (
                "Whether saltdeploy reverts a failed deployment. Otherwise the new instances stay as they are, so that"
                " you can look at them, and the exit code is 2. Old instances that were replaced in place stay out."
            ),
            default="true",
            reason=(
                "The old instances served clients well. At night, a half deployed fleet would wait for somebody to"
                " look."
            ),
        ),
        "keep_old": Key(
            DURATION,
            (
                "The time for which the instances that ``blue_green`` withdrew run on, unpublished, so that"
                " ``deploy.rollback`` need not start any. With 0, they are retired at once."
            ),
            default="10m",
            reason=(
                "It is long enough to see a bad release in its figures, and short enough that memory is needed twice"
                " only for a while."
            ),
        ),
        "pause": Key(
            {
                "title": "a pause",
                "description": "manual, or a duration: seconds, or 500ms, 10s, 5m, 1h",
                "examples": ["30m"],
                "anyOf": [{"const": "manual"}, DURATION],
            },
            (
                "Stop after the first wave, and keep the old instances. ``manual`` waits for ``deploy.promote`` or"
                " ``deploy.abort``. A duration waits for so long. Then the deployment goes on if the new instances"
                " stayed healthy. 0 means no pause. See :doc:`/howto/canary`."
            ),
            default="0",
            reason=(
                "If nobody knows that a release waits, clients keep two releases, and saltdeploy refuses the next"
                " deployment."
            ),
        ),
        "canary_weight": Key(
            {
                "title": "a canary's traffic",
                "description": "full, none, or a percentage from 1% to 99%",
                "examples": ["5%"],
                "anyOf": [{"enum": ["full", "none"]}, {"type": "string", "pattern": r"^[1-9][0-9]?%$"}],
                "renamed": {"candidate": "none"},
            },
            (
                "The share of the traffic for the new release while it is paused. ``full`` gives each instance as much"
                " as any other. ``25%`` is for all of its instances together, by weights in discovery. With ``none``,"
                " clients find it under ``<app>-candidate`` only. The last two need ``pause``, and ``type: rolling``."
                " See :doc:`/howto/canary`."
            ),
            default="full",
            reason=(
                "A share works only with clients that use weights, and plain DNS names have no weights. Before you ask"
                " for a share, you must know your clients."
            ),
        ),
        "when_paused": Key(
            {"enum": ["refuse", "supersede"]},
            (
                "The effect on another deployment while a deployment is paused. ``refuse`` refuses it. With"
                " ``supersede``, it takes the place of the paused deployment."
            ),
            default="refuse",
            reason=(
                "The next operator may not know that somebody still looks at a canary, and would decide on it by"
                " accident."
            ),
        ),
        "keep_releases": Key(
            {"type": "integer", "minimum": 1, "maximum": 1000},
            (
                "The number of the newest releases of an app that stay installed on each node. The end of a deployment,"
                " or ``deploy.prune``, removes the others. Three kinds of releases count, but always stay: the deployed"
                " release, the last good release before it (for ``deploy.rollback``), and releases with an instance."
            ),
            default="5",
            reason=(
                "A rollback to a named version needs an installed release. A lower number leaves little choice, and"
                " each further release takes room on every node. Kamal has the same."
            ),
        ),
        "analysis": Key(
            {"type": "array", "items": ANALYSIS.schema},
            (
                "Measurements of each wave while it serves clients, before old instances are retired. A bad result"
                " reverts. Write a list of :ref:`gates <definition-analysis>`. An app's own list replaces the list of"
                " the environment, and ``[]`` is none. See :doc:`/howto/analysis`."
            ),
        ),
    },
    defaults=vars(Strategy),  # Names of earlier versions: they are refused, and the message has the present name.
    renamed={
        "min_healthy": "min_healthy_time",
        "grace": "deregister_delay",
        "replace": "type",
        "canary": "canary_weight",
        "warm": "keep_old",
    },
)
