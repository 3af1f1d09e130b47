"""``discovery``, ``consul``, ``skydns`` and ``dns`` of an environment."""

from __future__ import annotations

from ...core.forms import A_NAME, UPSTREAM, text
from ...core.model import AGENT, SKYDNS_DOMAIN
from ..cluster import DATACENTER
from .keys import FILE, PLACE, Key, Section

DOMAIN_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
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

SKYDNS = Section(
    "skydns",
    {
        "etcd": Key(
            {"type": "array", "minItems": 1, "items": HTTP_URL, "examples": [["https://192.168.56.11:2379"]]},
            "Addresses of etcd's members, for master and nodes. They are asked in turn until one answers.",
            otherwise="the nodes with the role ``etcd-server``",
            reason="Highstate has set them up, if the environment has ``skydns``. Otherwise give this key.",
        ),
        "domain": Key(
            text(
                "a domain",
                "labels of lower-case letters, digits and -, with dots between them",
                DOMAIN_NAME,
                SKYDNS_DOMAIN,
            ),
            "The domain that CoreDNS answers for. The name of an app is ``<app>.<environment>.<domain>``.",
            default=SKYDNS_DOMAIN,
            reason="It is SkyDNS's own default, and no domain of the internet.",
        ),
        "ttl": Key(
            {"type": "integer", "minimum": 1, "maximum": 3600},
            "How long a client may keep an answer of DNS, in seconds.",
            default="10",
            reason=(
                "A client may ask an instance for that long after it was withdrawn, if it does not ask DNS again. Each"
                " lookup costs CoreDNS a question to etcd."
            ),
        ),
        "user": Key(
            text("a user", "the name of a user, without spaces", r"^[!-~]+$", "deploy"),
            "The user at etcd.",
            otherwise="no login",
            reason="Access control of etcd is off until somebody enables it.",
        ),
        "password": Key(
            text("a password", "the password of the user, in one line", r"^[^\n]+$", writeOnly=True),
            "The password of ``user``.",
        ),
        "ca": Key(FILE, "Path of the CA certificate, on master and nodes, to verify ``https://``."),
        "cert": Key(
            FILE,
            (
                "Path of a client certificate, on master and nodes, if etcd asks for one (``--client-cert-auth``). etcd"
                " does not take its name for a user: for rights, give ``user``, too."
            ),
        ),
        "key": Key(FILE, "Path of the key of ``cert``. Without it, the key is in the same file."),
        "agent": Key(
            HTTP_URL,
            "The address of a node's own health agent. ``{address}`` is the node's address, in brackets if it is IPv6.",
            default="http://127.0.0.1:8500",
            reason="Consul's agent listens there, too, so an app reports its health to both in the same way.",
        ),
        "token": Key(
            text("a token", "a token, without spaces", r"^[!-~]*$", writeOnly=True),
            "The secret that the health agents ask for before they register a service.",
            otherwise="none",
            reason="An agent listens on its own machine only.",
        ),
    },
    defaults={"domain": SKYDNS_DOMAIN, "ttl": 10, "agent": AGENT},
)

DISCOVERY = Section(
    "discovery",
    {
        "consul": Key(
            CONSUL.schema,
            "The access to Consul. ``{}`` takes the defaults.",
        ),
        "skydns": Key(
            SKYDNS.schema,
            "The access to SkyDNS, in place of Consul: see :doc:`/howto/skydns`.",
        ),
    },
)


def _version(program: str, example: str, oldest: str) -> Key:
    return Key(
        text(f"a version of {program}", "three numbers", r"^[0-9]+\.[0-9]+\.[0-9]+$", example),
        f"The version of {program}, {oldest} or newer.",
        required=True,
    )


def _source(kind: str, path: str, publisher: str, why: str) -> Key:
    return Key(
        text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
        (
            f"The place of the {kind} with the program. ``{{version}}`` and ``{{arch}}`` are filled in. Without this"
            f" key, a node takes ``salt://{path}`` from the master's file roots. If it is not there, the node takes it"
            f" from {publisher}."
        ),
        otherwise=f"the master, else {publisher}",
        reason=f"Nodes that the master serves need no connection to the internet. {why}",
    )


def _sha256(published: str, otherwise: str) -> Key:
    return Key(
        text("a digest", "a SHA-256, or a URL or a path of one", f"^[0-9a-fA-F]{{64}}$|{PLACE}"),
        (
            f"Its SHA-256, or the place of a file with it. The default is for {published}. With a ``source`` of your"
            " own, give this key."
        ),
        otherwise=otherwise,
        reason="It detects a broken download, and you need not look up a digest for each version and architecture.",
    )


SERVICES = Key({"type": "array", "items": A_NAME}, "Services, besides our apps, that nodes may register.")

CLUSTER = Section(
    "cluster",
    {
        "version": _version("Consul", "1.22.3", "1.17"),
        "source": _source(
            "zip file",
            "consul/consul_<version>_linux_<architecture>.zip",
            "HashiCorp",
            "Outside of HashiCorp, nobody vouches for the file.",
        ),
        "sha256": _sha256("a zip file from HashiCorp", "HashiCorp's SHA256SUMS"),
        "datacenter": Key(
            A_NAME,
            "The name of Consul's datacenter.",
            default="dc1",
            reason=(
                "It is Consul's own default. Each such environment has its own servers, so the names need not differ."
            ),
        ),
        "services": SERVICES,
    },
    defaults={"datacenter": DATACENTER},
)

PLATFORM = Section(
    "platform",
    {
        "version": _version("CoreDNS", "1.12.4", "1.12.4"),
        "source": _source(
            "tar archive",
            "coredns/coredns_<version>_linux_<architecture>.tgz",
            "GitHub",
            "Debian has no CoreDNS.",
        ),
        "sha256": _sha256("an archive from GitHub", "the digest beside it on GitHub"),
        "services": SERVICES,
    },
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
                " does not know internal names. With systemd-resolved, all other names go through Consul or CoreDNS,"
                " too."
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
                " systemd-resolved, Consul or CoreDNS asks them."
            ),
            otherwise="the node's own",
            reason="Other servers may not know names that only the internal network knows.",
        ),
    },
    defaults={"resolver": "dnsmasq"},
)
