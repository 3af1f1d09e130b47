"""SkyDNS on this machine: the configuration of etcd, CoreDNS and health agents, and clients that ask CoreDNS."""

from __future__ import annotations

import base64
import http.client
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

from . import ToolError, agents
from .commands import environment
from .config import CONSUL_DNS, CONSUL_HTTP
from .requestloop import RequestLoop

DOMAIN = "skydns.local"
CLIENTS, PEERS = 2379, 2380
# A health agent and a CoreDNS have the place of a Consul agent.
HTTP, DNS = CONSUL_HTTP, CONSUL_DNS
# Seconds: how long the records of a node stay after its agent has ended.
LEASE = 5

# Clients as HAProxy ask for SRV records as RFC 2782 has it: _shop._tcp.test.skydns.local.
COREFILE = r"""{domain}:{port} {{
    bind {address}
    rewrite stop name regex ^(.*)_([^.]+)\._tcp\.(.+)\.$ {{1}}{{2}}.{{3}} answer auto
    etcd {{
        path /skydns
        endpoint {members}
    }}
    errors
}}
"""


def etcd_program():
    """Return the path of etcd.

    :raises ToolError: there is none, and how to install it.
    """
    found = shutil.which("etcd")
    if not found:
        raise ToolError("no etcd on PATH. On Debian and Ubuntu: apt-get install etcd-server")
    return Path(found)


def etcd_version(program):
    """Return the version of an etcd, empty if it does not tell."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, env=environment(), check=False)
    return done.stdout.partition("\n")[0].removeprefix("etcd Version: ")


def url(address, port):
    """Return the URL of an address, IPv4 or IPv6."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def members(addresses):
    """Return the URLs at which clients reach the members of etcd."""
    return [url(address, CLIENTS) for address in addresses]


def etcd_command(program, name, servers, folder):
    """Return the command line of a member of etcd.

    :param servers: name -> address of all members.
    :param folder: where it keeps its data.
    """
    client, peer = url(servers[name], CLIENTS), url(servers[name], PEERS)
    options = {
        "name": name,
        "data-dir": folder,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": ",".join(f"{other}={url(address, PEERS)}" for other, address in servers.items()),
        # Three members share a machine with all the rest: a late heartbeat is no lost leader.
        "heartbeat-interval": "200",
        "election-timeout": "2000",
    }
    return [program, *(f"--{key}={value}" for key, value in options.items())]


def corefile(address, servers):
    """Return the configuration of a CoreDNS.

    :param address: where it listens.
    :param servers: the addresses of etcd's members.
    """
    return COREFILE.format(domain=DOMAIN, port=DNS, address=address, members=" ".join(members(servers)))


def health_settings(node, address, servers, environment, folder):
    """Return the settings of a health agent as a mapping.

    :param address: where it listens.
    :param servers: the addresses of etcd's members.
    :param folder: where it keeps its services.
    """
    place = {"domain": DOMAIN, "environment": environment, "ttl": 1}
    listens = {"address": address, "port": HTTP, "folder": str(folder), "lease": LEASE}
    return {"node": node, "etcd": members(servers), **place, **listens}


def health_command(python, library, file):
    """Return the command line of a health agent.

    :param python: a Python with ``requests``.
    :param library: the folder that the package saltdeploy is in.
    :param file: its settings.
    """
    return ["env", f"PYTHONPATH={library}", python, "-m", "saltdeploy.health", file]


def values(address, prefix, timeout=5.0):
    """Return ``{key: text}`` of all keys of etcd that begin with ``prefix``; OSError if etcd does not answer.

    :param address: of a member.
    """
    last = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    asked = {"key": _encoded(prefix), "range_end": _encoded(last)}
    connection = http.client.HTTPConnection(address, CLIENTS, timeout=timeout)
    try:
        connection.request("POST", "/v3/kv/range", json.dumps(asked), {"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as exc:
        raise OSError(f"etcd at {address}: {exc!r}") from exc
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"etcd at {address} answers {response.status}: {body[:200].decode(errors='replace').strip()}")
    return {_decoded(found["key"]): _decoded(found.get("value", "")) for found in json.loads(body).get("kvs", [])}


def _encoded(text):
    return base64.b64encode(text.encode()).decode()


def _decoded(text):
    return base64.b64decode(text).decode()


class Clients(RequestLoop):
    """Clients who ask CoreDNS by SRV, as any client of DNS may, and another CoreDNS if one does not answer.

    :param servers: the addresses of the CoreDNS servers.
    :param environment: the environment of the service, which is a part of its name.
    """

    asked = "CoreDNS"

    def __init__(self, servers, service, path, environment):
        super().__init__(servers, service, path)
        self.name = f"{service}.{environment}.{DOMAIN}"

    def _find(self):
        said = []
        for address in random.sample(self.agents, len(self.agents)):
            try:
                found = agents.resolve(self.name, agents.SRV, address, DNS, 1.0)
                if not found:
                    raise OSError(f"{address} knows no instance of {self.name}")
                _, _, port, name = random.choice(found).split()
                [where] = agents.resolve(name, agents.A, address, DNS, 1.0)
            except (OSError, ValueError) as exc:
                said.append(str(exc))
                continue
            return where, int(port), self._named(name, port)
        raise OSError(f"no CoreDNS answers: {said}")

    def _named(self, name, port):
        """Return the release of the instance whose name this is, with dots for all that is no letter or digit."""
        found = re.match(rf"{self.service}-(.*)-{port}(?:-\d+)?-[0-9a-f]{{8}}\.", name)
        return found[1].replace("-", ".") if found else "?"
