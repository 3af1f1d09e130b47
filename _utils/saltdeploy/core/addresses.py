"""IP addresses, alone and with a port, as texts. Pure: nothing is resolved here.

The only place that joins a host and a port, takes them apart, or compares two addresses.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Union

from .errors import DefinitionError
from .words import shown

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def canonical(text: str) -> str:
    """Return an IP address in its one spelling: IPv6 as in RFC 5952, and IPv4 for an IPv4-mapped IPv6 address.

    :param text: an IP address. A name is returned as it is.
    """
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text
    return str(getattr(found, "ipv4_mapped", None) or found)


def host(address: str) -> str:
    """Return ``address`` as the host of a URL (RFC 3986): an IPv6 address gets brackets."""
    return f"[{address}]" if ":" in address else address


def join(address: str, port: int | None) -> str:
    """Return ``address:port`` (``[address]:port`` for IPv6), or the address alone if ``port`` is None or 0."""
    return f"{host(address)}:{port}" if port else address


def of_node(text: object, at: str) -> str:
    """Return the address of a node in its one spelling.

    :param text: the text in the definition.
    :param at: the key path of it, for messages.
    :raises DefinitionError: it is no IP address, or no client could connect to it from another host.
    """
    try:
        found = ipaddress.ip_address(str(text))
    except ValueError:
        advice = ""
        if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", str(text)):
            advice = ": four numbers up to 255, and none begins with a 0"
        elif _is_name(str(text)):
            advice = ". A name is not resolved: write the address that `getent ahosts NAME` shows on the node"
        raise DefinitionError(f"{at}: found {shown(text)}, allowed is an IP address{advice}.") from None
    problem = _unusable(found)
    if problem:
        raise DefinitionError(f"{at}: found {shown(text)}, {problem}. Write an address that other hosts connect to.")
    return canonical(str(text))


def server(text: str, at: str) -> tuple[str, int | None]:
    """Return ``(address, port)`` of a server, with None for ``port`` if ``text`` has no port.

    :param text: ``10.0.0.53``, ``10.0.0.53:5353``, ``fd00::53`` or ``[fd00::53]:5353``.
    :param at: the key path of it, for messages.
    :raises DefinitionError: it is no such text.
    """
    address, port = _split(text)
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        found = None
    # The zone of a scoped address (fe80::1%eth0) may be any text, even a line break.
    known = found is not None and not getattr(found, "scope_id", None)
    if not known or (port is not None and not re.fullmatch("[1-9][0-9]{0,4}", port)) or int(port or 1) > 65535:
        raise DefinitionError(
            f"{at}: found {shown(text)}, allowed is an IP address, and a port behind it: 10.0.0.53, 10.0.0.53:5353,"
            " fd00::53 or [fd00::53]:5353."
        )
    return str(found), None if port is None else int(port)


def network(text: str, at: str) -> str:
    """Return a network (``10.0.0.0/24``, ``fd00::/64``) or an address as HAProxy reads it.

    :param at: the key path of it, for messages.
    :raises DefinitionError: it is neither.
    """
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        found = None
    if found is None or getattr(found.network_address, "scope_id", None):
        raise DefinitionError(
            f"{at}: found {shown(text)}, allowed is an IP address or a network: 10.0.0.5, 10.1.0.0/16 or fd00::/64."
        )
    return str(found)


def _split(text: str) -> tuple[str, str | None]:
    """Return ``(address, port)`` from ``address:port``, with None for ``port`` if there is none."""
    if text.startswith("["):
        inside, bracket, behind = text[1:].partition("]")
        if bracket and not behind:
            return inside, None
        return (inside, behind[1:]) if behind.startswith(":") else (text, None)
    address, colon, port = text.rpartition(":")
    # More than one colon: an IPv6 address without brackets has no port.
    return (address, port) if colon and ":" not in address else (text, None)


def _unusable(found: Address) -> str:
    """Return why no client can reach an instance at this address, or an empty text if clients can reach it."""
    if getattr(found, "scope_id", None) or (found.version == 6 and found.is_link_local):
        return "a link-local address is good on one link only, and service discovery cannot tell clients which"
    plain = getattr(found, "ipv4_mapped", None) or found
    if plain.is_unspecified:
        return "this stands for all addresses of a host"
    if plain.is_multicast or plain == ipaddress.IPv4Address("255.255.255.255"):
        return "this is the address of no single host"
    return ""


def _is_name(text: str) -> bool:
    return ":" not in text and any(letter.isalpha() for letter in text)
