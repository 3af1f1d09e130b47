"""``environments:<name>``: an environment and its nodes."""

from __future__ import annotations

from ...core.conditions import DAYS, Approvals, Window
from ...core.environment import Group
from ...core.forms import A_NAME, ADDRESS, DURATION, MINION, text
from .app import APP
from .consul import CLUSTER, DISCOVERY, DNS, PLATFORM
from .keys import FILE, WORDS, Key, Section, mapping, optional
from .notify import NOTIFY
from .strategy import STRATEGY

PERSON = text("a name", "the name of a person: letters, digits and . _ @ -", r"^[A-Za-z0-9._@-]{1,64}$", "ann")
CLOCK = text("a time of day", "a time of day", r"^([01][0-9]|2[0-3]):[0-5][0-9]$", "09:00")
TO = text("a time of day", "a time of day, at most 24:00", r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", "17:00")

NODE = Section(
    "node",
    {
        "address": Key(
            text("an address", "an IP address, IPv4 or IPv6", ADDRESS, "10.0.0.11"),
            (
                "The IPv4 or IPv6 address on which instances of this node listen, and at which clients find them. It"
                " must be an address of the node itself. See :ref:`addresses` for the refused addresses."
            ),
            required=True,
        ),
        "roles": Key(
            WORDS,
            "The purposes of this node: see :ref:`roles <roles>`.",
        ),
        "zone": Key(
            A_NAME,
            (
                "The rack, room or host machine of this node. Nodes of a zone may fail together. saltdeploy spreads"
                " instances evenly over the zones, and no wave touches nodes of two zones. All nodes without a zone"
                " form a zone together."
            ),
        ),
    },
)

GROUP = Section(
    "group",
    {
        "apps": Key({"type": "array", "items": A_NAME, "minItems": 1}, "The apps.", required=True),
        "together": Key(
            {"type": "boolean"},
            (
                "Whether the apps succeed or fail together. If one of them fails in a run that deploys several apps,"
                " the run takes the others back to their state before."
            ),
            default="false",
            reason="An app that was deployed serves by itself. To take it back is another deployment, with its risks.",
        ),
    },
    defaults=vars(Group(())),
)

APPROVALS = Section(
    "approvals",
    {
        "by": Key(
            {"type": "array", "items": PERSON, "minItems": 1},
            (
                "Names of the people with this right. The history shows such a name before the ``@``. See"
                " :doc:`/explanation/trust` for how sure these names are."
            ),
            required=True,
        ),
        "count": Key(
            {"type": "integer", "minimum": 1, "maximum": 20},
            "How many of them must approve a release. The approval of the deployer does not count.",
            default="1",
            reason="Two people look at a release then: the deployer and another.",
        ),
    },
    defaults=vars(Approvals()),
)

WINDOW = Section(
    "window",
    {
        "days": Key(
            {"type": "array", "items": {"enum": list(DAYS)}, "minItems": 1, "examples": [["mon", "tue"]]},
            f"The days of the week: {', '.join(DAYS)}.",
            otherwise="every day",
            reason="Hours alone are the most frequent rule.",
        ),
        "from": Key(CLOCK, "Its first minute.", required=True),
        "to": Key(TO, "The first minute after it.", required=True),
        "timezone": Key(
            text("a time zone", "a time zone of the IANA database", r"^[A-Za-z0-9_+/-]{1,64}$", "Europe/Berlin"),
            "The time zone of the hours and the days.",
            default="UTC",
            reason="The clock of a server is often in UTC, and the master's zone may change with its machine.",
        ),
    },
    defaults={"timezone": Window.timezone},
)

ENVIRONMENT = Section(
    "environment",
    {
        "based_on": Key(
            A_NAME,
            (
                "Another environment. This environment takes over all of it except its nodes, and merges it with its"
                " own keys. (Mappings are merged, lists and values are replaced.) A mistake among the nodes there is no"
                " mistake here."
            ),
        ),
        "scale": Key(
            {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            (
                "The factor for ``instances`` that come from ``based_on``. The product is rounded, and at least 1. A"
                " number of instances that you write here is not scaled."
            ),
            default="1",
            reason="A copy should differ from its base only if it says so.",
        ),
        "nodes": Key(
            mapping(NODE.schema, text("the id of a minion", "letters, digits and . _ -", MINION, "web1")),
            "The nodes, by Salt minion id. A minion belongs to a single environment at most.",
            required=True,
        ),
        "discovery": Key(
            DISCOVERY.schema,
            (
                "The access to service discovery: Consul or SkyDNS. Each environment has its own Consul datacenter, or"
                " its own part of an etcd: see :doc:`/reference/discovery`."
            ),
            otherwise="Consul on each machine",
            reason=(
                "With an agent on each machine, you need not keep any address up to date. SkyDNS needs more parts, and"
                " checks nothing by itself."
            ),
        ),
        "consul": Key(
            CLUSTER.schema,
            (
                "Consul itself, which highstate sets up on every node: see :doc:`/howto/environment`. Without this key,"
                " you run Consul yourself."
            ),
        ),
        "skydns": Key(
            PLATFORM.schema,
            (
                "SkyDNS itself, etcd and CoreDNS, which highstate sets up: see :doc:`/howto/skydns`. Without this key,"
                " you run them yourself."
            ),
        ),
        "dns": Key(
            DNS.schema,
            "How nodes resolve ``.consul``, or the domain of SkyDNS, if the environment has ``consul`` or ``skydns``.",
        ),
        "ignore": Key(
            {
                "type": "array",
                "items": text("a key path", "a key path, with * for any part", r"^[^\s]{1,200}$", "apps:*:version"),
                "examples": [["apps:*:version"]],
            },
            (
                "Key paths in which this environment may be unlike another, for ``environment.diff``. ``*`` stands for"
                " any part, and a key path stands for all below it. See :doc:`/howto/parity`."
            ),
        ),
        "notify": Key(
            NOTIFY.schema,
            "Further receivers of events about the apps here, beside the master's event bus.",
        ),
        "apps": Key(
            mapping(optional(APP), A_NAME),
            (
                "The apps that run here, each with its differences from its definition under ``apps``. Any key of it is"
                " allowed. (Mappings are merged, lists and values are replaced.) ``{}`` means no differences."
            ),
        ),
        "groups": Key(
            mapping(optional(GROUP), A_NAME),
            "Apps that are deployed in one run, by the name of the group: see :doc:`/howto/several`.",
        ),
        "approvals": Key(
            APPROVALS.schema,
            (
                "The approvals that a release needs before it is deployed here: see :doc:`/howto/promotion`. Not"
                " inherited."
            ),
        ),
        "windows": Key(
            {"type": "array", "items": WINDOW.schema, "minItems": 1},
            (
                "The times in which something may be deployed here. Rollbacks and aborts go at any time, and"
                " ``force=True`` with a reason. Not inherited."
            ),
            otherwise="always",
            reason="A failure should not wait for a window.",
        ),
        "accept_within": Key(
            DURATION,
            (
                "How long ago another environment may have accepted a release that ``from_env`` takes here, at most 30"
                " days. Not inherited."
            ),
            otherwise="no limit",
            reason="A release that serves is as good as on its first day, unless its dependencies have changed.",
        ),
        "operators": Key(
            {"type": "array", "items": PERSON, "minItems": 1, "examples": [["ann", "ci"]]},
            (
                "The users who may use this environment with the runners ``deploy`` and ``environment``, also to look"
                " at it. Everybody else is refused. See :doc:`/howto/ci`, and :doc:`/explanation/trust` for how sure"
                " these names are. Not inherited."
            ),
            otherwise="everybody whom Salt lets run the functions",
            reason="Without ``external_auth``, only root of the master can run them.",
        ),
        "request_key_file": Key(
            FILE,
            (
                "Path of a file on the master with a key, at least 32 characters. An event"
                " ``deploy/request/<environment>/<app>`` deploys if it is signed with this key: see"
                " :doc:`/howto/request`. Not inherited."
            ),
            otherwise="no event deploys",
            reason="Any minion can fire any event, with any data.",
        ),
        "strategy": Key(
            STRATEGY.schema,
            "The way in which deployments proceed here.",
        ),
    },
    defaults={"scale": 1},
)
