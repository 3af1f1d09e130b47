"""``environments:<name>``: an environment and its nodes."""

from __future__ import annotations

from ...core.forms import A_NAME, ADDRESS, MINION, text
from ...core.model import Group
from .app import APP
from .consul import CLUSTER, DISCOVERY, DNS
from .keys import WORDS, Key, Section, mapping, optional
from .notify import NOTIFY
from .strategy import STRATEGY

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
                "The access to service discovery. Each environment has its own Consul datacenter: see"
                " :doc:`/reference/discovery`."
            ),
            otherwise="Consul on each machine",
            reason=(
                "Consul is the only choice. With an agent on each machine, you need not keep any address up to date."
            ),
        ),
        "consul": Key(
            CLUSTER.schema,
            (
                "Consul itself, which highstate sets up on every node: see :doc:`/howto/environment`. Without this key,"
                " you run Consul yourself."
            ),
        ),
        "dns": Key(
            DNS.schema,
            "How nodes resolve ``.consul``, if the environment has ``consul``.",
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
            mapping(GROUP.schema, A_NAME),
            "Apps that are deployed in one run, by the name of the group: see :doc:`/howto/several`.",
        ),
        "strategy": Key(
            STRATEGY.schema,
            "The way in which deployments proceed here.",
        ),
    },
    defaults={"scale": 1},
)
