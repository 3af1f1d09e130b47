"""``discovery``, ``consul`` and ``dns`` of an environment."""

from __future__ import annotations

from ...core.forms import A_NAME, UPSTREAM, text
from ...core.model import AGENT
from ..cluster import DATACENTER
from .keys import PLACE, Key, Section

HTTP_URL = text("a URL", "a URL that begins with http:// or https://", r"^https?://")

CONSUL = Section(
    "consul",
    {
        "datacenter": Key(
            text("a datacenter", "letters, digits, _ and -", r"^[A-Za-z0-9_-]*$", "dc1"),
            "The datacenter with the catalog and keys to use.",
            otherwise="the agent's own",
            reason="The agent knows it. You need another name only if several datacenters are joined.",
        ),
        "agent": Key(
            HTTP_URL,
            "The address of a node's own agent. ``{address}`` is the node's address, in brackets if it is IPv6.",
            default="http://127.0.0.1:8500",
            reason=(
                "An agent listens there unless you configure another address. A token that is sent there does not leave"
                " the machine."
            ),
        ),
        "servers": Key(
            {"type": "array", "minItems": 1, "items": HTTP_URL},
            "Addresses at which the master reaches Consul. It asks them in turn until a server answers.",
            default='["http://127.0.0.1:8500"]',
            reason=(
                "An agent on the master knows the current servers, also after they change. You would have to maintain a"
                " list of servers."
            ),
        ),
        "token": Key(
            text("a token", "a token, without spaces", r"^[!-~]*$", writeOnly=True),
            "The ACL token, for master and nodes: see :doc:`/howto/acl`.",
        ),
        "ca": Key(
            {"type": "string"},
            "Path of the CA certificate, on master and nodes, to verify ``https://``.",
        ),
    },
    defaults={"agent": AGENT, "servers": [AGENT]},
)

DISCOVERY = Section(
    "discovery",
    {
        "consul": Key(
            CONSUL.schema,
            "The access to Consul. ``{}`` takes the defaults.",
        ),
    },
)

CLUSTER = Section(
    "cluster",
    {
        "version": Key(
            text("a version of Consul", "three numbers", r"^[0-9]+\.[0-9]+\.[0-9]+$", "1.22.3"),
            "The version of Consul, 1.17 or newer.",
            required=True,
        ),
        "source": Key(
            text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
            (
                "The place of the zip file with the program. ``{version}`` and ``{arch}`` are filled in. Without this"
                " key, a node takes ``salt://consul/consul_<version>_linux_<architecture>.zip`` from the master's file"
                " roots. If it is not there, the node takes it from HashiCorp."
            ),
            otherwise="the master, else HashiCorp",
            reason=(
                "Nodes that the master serves need no connection to the internet. Outside of HashiCorp, nobody vouches"
                " for the file."
            ),
        ),
        "sha256": Key(
            text("a digest", "a SHA-256, or a URL or a path of one", f"^[0-9a-fA-F]{{64}}$|{PLACE}"),
            (
                "Its SHA-256, or the place of a file with it. The default is for a zip file from HashiCorp. With a"
                " ``source`` of your own, give this key."
            ),
            otherwise="HashiCorp's SHA256SUMS",
            reason="It detects a broken download, and you need not look up a digest for each version and architecture.",
        ),
        "datacenter": Key(
            A_NAME,
            "The name of Consul's datacenter.",
            default="dc1",
            reason=(
                "It is Consul's own default. Each such environment has its own servers, so the names need not differ."
            ),
        ),
        "services": Key(
            {"type": "array", "items": A_NAME},
            "Services, besides our apps, that nodes may register.",
        ),
    },
    defaults={"datacenter": DATACENTER},
)

DNS = Section(
    "dns",
    {
        "resolver": Key(
            {"enum": ["dnsmasq", "unbound", "systemd-resolved"]},
            "The program that answers on each node.",
            default="dnsmasq",
            reason=(
                "It asks the servers that the node had. unbound asks the root instead, which firewalls block and which"
                " does not know internal names. With systemd-resolved, all other names go through Consul, too."
            ),
        ),
        "upstream": Key(
            {
                "type": "array",
                "items": text(
                    "the address of a name server", "an IP address, and a port if need be", UPSTREAM, "192.0.2.1"
                ),
            },
            (
                "IP addresses of the name servers for all other names, with the port unless it is 53. Examples are"
                " ``10.0.0.53``, ``10.0.0.53:5353``, ``fd00::53`` and ``[fd00::53]:5353``. Without this key, unbound"
                " resolves from the root by itself. dnsmasq asks these servers itself, and so does unbound. With"
                " systemd-resolved, Consul asks them."
            ),
            otherwise="the node's own",
            reason="Other servers may not know names that only the internal network knows.",
        ),
    },
    defaults={"resolver": "dnsmasq"},
)
