"""The ``{names}`` in a definition's texts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .errors import DefinitionError
from .words import nearest

PLACEHOLDERS = ("address", "port", "version", "release", "instance", "app", "environment", "node", "host", "data")
# The placeholders that are known of an instance on another node, too: for an HTTP test.
ELSEWHERE = ("address", "port", "version", "app", "environment", "node")
# The placeholders of a build. There is no instance yet.
BUILD = ("app", "version", "release")
# A doubled brace, a placeholder, or a brace that belongs to neither.
PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
# A message shows an unknown placeholder only in this form: a mistyped word, and no part of a password.
WORD = re.compile(r"[A-Za-z_]{1,20}")
DOUBLED = "Write a brace of your own twice."
# How the placeholder of a service begins: ``{service:postgres}``.
SERVICE = "service:"
# How the placeholder of a service's addresses begins: ``{addresses:postgres}``.
ADDRESSES = "addresses:"


@dataclass(frozen=True)
class Services:
    """The value of ``service``: each service that an app requires, by the DNS name at which clients find it.

    :param domain: the domain of all services.
    """

    domain: str

    def __format__(self, name: str) -> str:
        return f"{name}.{self.domain}"

    def __getitem__(self, name: str) -> str:
        """Return the DNS name of a service, for a template: ``{{ service['postgres'] }}``."""
        return format(self, name)


class Unresolved:
    """The value of ``addresses`` where nobody has asked discovery: the placeholder stays as it is written."""

    def __format__(self, name: str) -> str:
        return f"{{{ADDRESSES}{name}}}"


UNRESOLVED = Unresolved()


def fill(text: str, values: Mapping[str, object]) -> str:
    """Return ``text`` with ``{address}`` and the other placeholders filled in from ``values``."""
    return text.format_map(values)


def fill_addresses(text: str, addresses: Callable[[str], str]) -> str:
    """Return ``text`` with ``{addresses:NAME}`` filled in, and all else as it is written.

    :param addresses: returns the addresses of the service with this name.
    """

    def filled(part: re.Match[str]) -> str:
        name = part[1] or ""
        return addresses(name.removeprefix(ADDRESSES)) if name.startswith(ADDRESSES) else part[0]

    return PART.sub(filled, text)


def unresolved(texts: Iterable[str]) -> list[str]:
    """Return the services whose ``{addresses:NAME}`` is not filled in yet in ``texts``."""
    found = (part[1] or "" for text in texts for part in PART.finditer(text))
    return list(dict.fromkeys(name.removeprefix(ADDRESSES) for name in found if name.startswith(ADDRESSES)))


def used(text: str) -> list[str]:
    """Return the placeholders in ``text``, which is valid."""
    return [part[1] for part in PART.finditer(text) if part[1]]


def fill_known(text: str, values: Mapping[str, object]) -> str:
    """Return ``text`` with the placeholders in ``values`` filled in, and the other placeholders as they are written."""

    def filled(part: re.Match[str]) -> str:
        return part[0][0] if part[0] in ("{{", "}}") else str(values.get(part[1], part[0]))

    return PART.sub(filled, text)


def check(
    text: str,
    at: str,
    allowed: Sequence[str] = PLACEHOLDERS,
    command: bool = True,
    services: Collection[str] | None = None,
    follow: bool | None = None,
) -> list[str]:
    """Return the placeholders that ``text`` uses, without those of services.

    :param at: its key path, for messages.
    :param allowed: the placeholders that are allowed.
    :param command: whether ``text`` is a command. A shell must be able to split it into at least one word. A message
        quotes nothing of any other text: it may be a password.
    :param services: the services whose names ``{service:NAME}`` gives. None allows no such placeholder.
    :param follow: whether ``{addresses:NAME}`` of these services is allowed. None means that it never is there.
    :raises DefinitionError: it uses other placeholders, or cannot be read. No message has the text itself.
    """
    names = []
    for part in PART.finditer(text):
        if part[0] in ("{{", "}}"):
            continue
        kind, _, service = (part[1] or "").partition(":")
        known = [SERVICE] if follow is None else [SERVICE, ADDRESSES]
        if services is not None and f"{kind}:" in known:
            place = f"{{{kind}:…}} at character {part.start() + 1}"
            if service not in services:
                raise DefinitionError(
                    f"{at}: {place} names a service that is not in `requires`. Add it there, or correct it."
                )
            if f"{kind}:" == ADDRESSES and not follow:
                raise DefinitionError(
                    f"{at}: {place} is for an app with `follow: true`, because addresses change. Write it, or write"
                    " {service:…}, which is the DNS name."
                )
            continue
        if part[1] not in allowed:
            raise DefinitionError(f"{at}: {_problem(part, allowed, command)}")
        names.append(part[1])
    if command:
        problem = _unsplit(text)
        if problem:
            raise DefinitionError(f"{at}: {problem}")
    return names


def _problem(part: re.Match[str], allowed: Sequence[str], command: bool) -> str:
    """Return the sentence on a wrong brace, which names its place."""
    name, place = part[1], f"character {part.start() + 1}"
    if name is None:
        return f"{place} is a brace that belongs to no placeholder. {DOUBLED}"
    begun = re.split("[:!.[]", name)[0]
    if begun in allowed:
        return f"at {place}, write the placeholder as {{{begun}}}, with nothing else inside the braces."
    shown = f" {{{name}}}" if command and WORD.fullmatch(name) else ""
    guess = nearest(name, allowed)
    return f"unknown placeholder{shown}{guess} at {place}. Allowed: {', '.join(allowed)}. {DOUBLED}"


def _unsplit(text: str) -> str:
    """Return why a shell gets no words from a command, or an empty text if it gets some."""
    try:
        return "" if shlex.split(text) else "the command is empty."
    except ValueError as exc:
        return f"the command cannot be split into words: {exc}."
