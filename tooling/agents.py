"""Ask Consul's agents over HTTP, and resolve names with their DNS. Nothing of the machine's is in between."""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct

from .config import CONSUL_DNS, CONSUL_HTTP

A, AAAA, SRV = 1, 28, 33


def ask(address, path, timeout=5.0):
    """Return what the agent at ``address`` answers to a GET of ``path``; OSError if it does not."""
    return ask_with_index(address, path, timeout)[0]


def ask_with_index(address, path, timeout=5.0):
    """Return the answer like :func:`ask`, and the index of Consul's data at which it was true (0: it has none)."""
    status, headers, body = _get(address, CONSUL_HTTP, path, timeout)
    if status != 200:
        raise OSError(f"Consul at {address} answers {status}: {body[:200].decode(errors='replace').strip()}")
    return json.loads(body), int(headers.get("X-Consul-Index", 0))


def get(address, port, path, timeout=5.0):
    """Return status and body of a GET, over a connection of its own and past any proxy; OSError if it fails."""
    status, _, body = _get(address, port, path, timeout)
    return status, body


def _get(address, port, path, timeout):
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    except http.client.HTTPException as exc:
        raise OSError(f"{address}:{port}: {exc!r}") from exc
    finally:
        connection.close()


def resolve(name, kind, server, port=CONSUL_DNS, timeout=3.0):
    """Return the answers to a DNS question, each as ``dig +short`` would print it.

    :param kind: A, AAAA or SRV.
    :raises OSError: no answer, or one that cannot be read.
    """
    identity = random.randrange(1 << 16)
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"
    query = struct.pack("!6H", identity, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.connect((server, port))
        sock.send(query)
        reply = sock.recv(65535)
    try:
        return answers(reply, identity, kind)
    except (IndexError, struct.error) as exc:
        raise OSError(f"the DNS answer of {server} cannot be read") from exc


def answers(reply, identity, kind):
    """Return the records of ``kind`` in the answer section of a DNS message, as text."""
    found, _, questions, records, _, _ = struct.unpack_from("!6H", reply)
    if found != identity:
        raise OSError("the DNS answer is to another question")
    offset = 12
    for _ in range(questions):
        offset = _name(reply, offset)[1] + 4
    result = []
    for _ in range(records):
        _, offset = _name(reply, offset)
        this, _, _, length = struct.unpack_from("!2HIH", reply, offset)
        offset += 10
        if this == kind == A:
            result.append(socket.inet_ntoa(reply[offset : offset + 4]))
        elif this == kind == AAAA:
            result.append(socket.inet_ntop(socket.AF_INET6, reply[offset : offset + 16]))
        elif this == kind == SRV:
            priority, weight, port = struct.unpack_from("!3H", reply, offset)
            result.append(f"{priority} {weight} {port} {_name(reply, offset + 6)[0]}")
        offset += length
    return result


def _name(reply, offset):
    """Return the name at ``offset`` and the offset after it; names may point back to parts of earlier ones."""
    labels, after = [], None
    for _ in range(len(reply)):
        size = reply[offset]
        if size >= 0xC0:
            after = after or offset + 2
            offset = struct.unpack_from("!H", reply, offset)[0] & 0x3FFF
        elif size == 0:
            return ".".join(labels) + ".", after or offset + 1
        else:
            labels.append(reply[offset + 1 : offset + 1 + size].decode())
            offset += 1 + size
    raise IndexError("a name that never ends")
