"""Whether the measurements of a new release are good enough. Pure: measurements in, a verdict out.

The words ``interval``, ``count`` and ``failure_limit`` come from Argo Rollouts, ``min`` and ``max`` from Flagger.
"""

from __future__ import annotations

import json
import math
import re
import urllib.parse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import durations, httprequests, placeholders
from .errors import DefinitionError, Mistakes
from .model import Gate
from .words import nearest, shown

PLACEHOLDERS = ("app", "version", "environment")
# Braces around a single word. PromQL has braces of its own, but never around a single word.
PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
# A message shows this many characters of an answer, and this many of the newest measurements.
SHOWN = 200
LISTED = 10


class Inconclusive(Exception):
    """A measurement gave no number that could be judged. The message says why."""


@dataclass(frozen=True)
class Measurement:
    """One measurement: a number, or the reason why there is no number.

    :param value: the number. It is the exit code if the gate judges a command by its exit code.
    :param why: the reason why there is no number, or a remark on the number.
    """

    value: float | None
    why: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"inconclusive ({self.why})"
        return number(self.value) + (f" ({self.why})" if self.why else "")


def good(gate: Gate, measurement: Measurement) -> bool:
    """Return whether ``gate`` accepts ``measurement``. It accepts no inconclusive measurement."""
    value = measurement.value
    if value is None:
        return False
    if gate.by_exit_code:
        return value == 0
    return (gate.minimum is None or value >= gate.minimum) and (gate.maximum is None or value <= gate.maximum)


def verdict(gate: Gate, measurements: Sequence[Measurement]) -> str | None:
    """Return None while there is more to measure, then an empty text if the gate is passed, else the failure.

    :param measurements: the measurements so far, the oldest first.
    """
    bad = sum(not good(gate, m) for m in measurements)
    if bad > gate.failure_limit:
        listed = ["…"] * (len(measurements) > LISTED) + [str(m) for m in measurements[-LISTED:]]
        return (
            f"analysis {gate.name} failed: measured {', '.join(listed)}, wanted is {condition(gate)},"
            f" {bad} of {len(measurements)} {'was' if bad == 1 else 'were'} not, and {gate.failure_limit} may be"
        )
    return None if len(measurements) < gate.count else ""


def condition(gate: Gate) -> str:
    """Return in words which measurements ``gate`` accepts."""
    if gate.by_exit_code:
        return "exit code 0"
    limits = [("at least", gate.minimum), ("at most", gate.maximum)]
    return " and ".join(f"{words} {number(limit)}" for words, limit in limits if limit is not None)


def number(value: float) -> str:
    """Return ``value`` as text, precise enough to show that it is beyond a limit."""
    return f"{value:.15g}"


# -- answers ----------------------------------------------------------------------------------


def from_json(text: str, pointer: str) -> float:
    """Return the number at ``pointer`` (a JSON Pointer, RFC 6901) in a JSON document.

    :raises Inconclusive: the text is not JSON, or there is no number at ``pointer``.
    """
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise Inconclusive(f"the answer is not JSON: {text[:SHOWN]!r}") from exc
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key) if isinstance(found, list) else key]
        except (KeyError, IndexError, ValueError, TypeError) as exc:
            raise Inconclusive(f"no data: the answer has nothing at {pointer}") from exc
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise Inconclusive(f"at {pointer or 'the top'} is {shown(found)}, not a number")
    return _finite(found)


def from_prometheus(text: str) -> float:
    """Return the single number in an answer of Prometheus to ``/api/v1/query``.

    :raises Inconclusive: the query failed, or gave no series, or more than one.
    """
    try:
        answer = json.loads(text)
        if answer["status"] != "success":
            raise Inconclusive(f"{answer.get('errorType')}: {answer.get('error')}"[:SHOWN])
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "vector":
            if len(result) != 1:
                raise Inconclusive(
                    f"the query gave {len(result)} series. Make one of them, for example with sum()"
                    if result
                    else "no data: the query gave no series"
                )
            return _finite(result[0]["value"][1])
        if kind == "scalar":
            return _finite(result[1])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise Inconclusive(f"not an answer of Prometheus to a query: {text[:SHOWN]!r}") from exc
    raise Inconclusive(f"the query gave a {kind}. Write a query that gives an instant vector or a scalar")


def from_command(gate: Gate, code: int | None, output: str) -> Measurement:
    """Return the Measurement of a command that ended with ``code`` and printed ``output``.

    :param code: its exit code. None means that it did not run to its end, and ``output`` says why.
    :raises Inconclusive: it did not run to its end, or it printed no number and ``gate`` has limits.
    """
    last = (output.strip().splitlines() or [""])[-1][-SHOWN:]
    if code is None:
        raise Inconclusive(last)
    if gate.by_exit_code:
        return Measurement(float(code), last if code else "")
    if code:
        raise Inconclusive(f"the command ended with {code}: {last}")
    try:
        return Measurement(_finite(last))
    except ValueError as exc:
        raise Inconclusive(f"the last line that the command printed is not a number: {last!r}") from exc


def _finite(value: Any) -> float:
    try:
        found = float(value)
    except OverflowError as exc:
        raise Inconclusive("the number is too large") from exc
    if not math.isfinite(found):
        raise Inconclusive(f"measured {found:g}, not a finite number")
    return found


# -- kinds ------------------------------------------------------------------------------------


class Get(Protocol):
    """Returns status and text of the answer to the request of the gate."""

    def __call__(self, url: str, params: Mapping[str, str] | None = None) -> tuple[int, str]: ...


def _nowhere(command: str) -> tuple[int | None, str]:
    raise Inconclusive("there is no instance to run the command at")


@dataclass(frozen=True)
class Ways:
    """The ways in which a kind may ask. Each raises an exception if there is no answer.

    :param run: runs a command at an instance of the wave. It returns exit code and output, see :func:`from_command`.
    """

    get: Get
    run: Callable[[str], tuple[int | None, str]] = _nowhere


class Kind(Protocol):
    """A kind of gate. A new kind is a class, a line in KINDS, and a key in the schema.

    ``on_node`` says whether it asks an instance of the wave by a Salt job, and not the network from the master.
    ``exit_code`` says whether a gate without limits has a meaning, because it is judged by an exit code.
    """

    on_node: bool
    exit_code: bool

    def fields(self, raw: Any, at: str) -> dict[str, Any]:
        """Return the fields of a Gate that ``raw``, the value of the kind's key, describes.

        :param at: the key path of ``raw``, for messages.
        :raises DefinitionError: ``raw`` is wrong. The schema has accepted it.
        """

    def check(self, gate: Gate, at: str, usable: Sequence[str]) -> None:
        """Raise DefinitionError if a text of ``gate`` has a wrong placeholder.

        :param at: the key path of the value of the kind's key, for messages.
        :param usable: the placeholders that are allowed in a command.
        """

    def measure(self, gate: Gate, values: Mapping[str, str], ways: Ways) -> Measurement:
        """Take one measurement.

        :param values: the values of PLACEHOLDERS.
        :raises Inconclusive: there is no number.
        """


class Http:
    """A number in a JSON document."""

    on_node = exit_code = False

    def fields(self, raw: Any, at: str) -> dict[str, Any]:
        status = httprequests.statuses(raw["status"]) if "status" in raw else None
        return {**_request(raw, at, ["json"]), "status": status, "pointer": raw["json"]}

    def check(self, gate: Gate, at: str, usable: Sequence[str]) -> None:
        _check_url(gate, at)

    def measure(self, gate: Gate, values: Mapping[str, str], ways: Ways) -> Measurement:
        status, text = ways.get(filled_url(gate.url, values))
        if not httprequests.accepted(gate.status, status):
            raise Inconclusive(f"status {status}, expected {httprequests.expected(gate.status)}")
        return Measurement(from_json(text, gate.pointer))


class Prometheus:
    """The result of a query to Prometheus."""

    on_node = exit_code = False

    def fields(self, raw: Any, at: str) -> dict[str, Any]:
        return {**_request(raw, at), "query": raw["query"]}

    def check(self, gate: Gate, at: str, usable: Sequence[str]) -> None:
        _check_url(gate, at)
        for name in _unknown(gate.query):
            raise DefinitionError(f"{at}:query: unknown placeholder {{{name}}}{_allowed(name)}")

    def measure(self, gate: Gate, values: Mapping[str, str], ways: Ways) -> Measurement:
        url = f"{filled_url(gate.url, values).rstrip('/')}/api/v1/query"
        status, text = ways.get(url, {"query": fill(gate.query, values)})
        # Errors of a query have another status, and the body names the problem.
        if status != 200 and not text.lstrip().startswith("{"):
            raise Inconclusive(f"status {status}, expected 200")
        return Measurement(from_prometheus(text))


class Command:
    """The exit code of a command, or the number that it prints, at an instance of the wave."""

    on_node = exit_code = True

    def fields(self, raw: Any, at: str) -> dict[str, Any]:
        return {"command": raw}

    def check(self, gate: Gate, at: str, usable: Sequence[str]) -> None:
        placeholders.check(gate.command, at, usable)

    def measure(self, gate: Gate, values: Mapping[str, str], ways: Ways) -> Measurement:
        return from_command(gate, *ways.run(gate.command))


KINDS: dict[str, Kind] = {"http": Http(), "prometheus": Prometheus(), "command": Command()}


def _request(raw: Mapping[str, Any], at: str, read: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a Gate that describe its request. Parameters and errors as for httprequests.check."""
    httprequests.check(raw, at, raw["url"].startswith("https:"), read, "Write a URL with https")
    return {"url": raw["url"], "request": httprequests.request(raw, at)}


def _check_url(gate: Gate, at: str) -> None:
    # The message does not show the placeholder: a URL may have a token.
    for name in _unknown(gate.url):
        raise DefinitionError(f"{at}:url: unknown placeholder{_allowed(name)}")


def _unknown(text: str) -> list[str]:
    return [name for name in PLACEHOLDER.findall(text) if name not in PLACEHOLDERS]


def _allowed(name: str) -> str:
    return f"{nearest(name, PLACEHOLDERS)}. Allowed: {', '.join(PLACEHOLDERS)}."


# -- definitions ------------------------------------------------------------------------------


def gates(raw: Sequence[Mapping[str, Any]], at: str, usable: Sequence[str]) -> tuple[Gate, ...]:
    """Return the Gates that ``strategy: {analysis: …}`` describes.

    :param raw: the list as it is written. The schema has accepted it.
    :param at: its key path, for messages.
    :param usable: the placeholders that are allowed in a command.
    :raises DefinitionError: a gate is wrong. The message has its key path.
    """
    mistakes = Mistakes()
    made = tuple(mistakes.attempt(_gate, one, f"{at}:{position}") for position, one in enumerate(raw))
    for position, gate in enumerate(made):
        if gate:
            mistakes.attempt(KINDS[gate.kind].check, gate, f"{at}:{position}:{gate.kind}", usable)
    names = [one["name"] for one in raw]
    for position, name in enumerate(names):
        if name in names[:position]:
            mistakes.add(f"{at}:{position}:name: there is another `{name}`. Each gate needs its own name.")
    mistakes.refuse()
    return made


def _gate(raw: Mapping[str, Any], at: str) -> Gate:
    kinds = [k for k in KINDS if k in raw]
    if len(kinds) != 1:
        raise DefinitionError(f"{at}: needs exactly one of {', '.join(KINDS)}, found {' and '.join(kinds) or 'none'}.")
    [kind] = kinds
    fields = KINDS[kind].fields(raw[kind], f"{at}:{kind}")
    fields.update({key: durations.positive(raw[key], f"{at}:{key}") for key in ("interval", "timeout") if key in raw})
    fields.update({key: raw[key] for key in ("count", "failure_limit") if key in raw})
    gate = Gate(name=raw["name"], kind=kind, minimum=raw.get("min"), maximum=raw.get("max"), **fields)
    _check(gate, at)
    return gate


def _check(gate: Gate, at: str) -> None:
    if gate.by_exit_code and not KINDS[gate.kind].exit_code:
        raise DefinitionError(f"{at}: needs `max` or `min`, or both. Without a limit, any number would be good.")
    if gate.minimum is not None and gate.maximum is not None and gate.minimum > gate.maximum:
        raise DefinitionError(f"{at}:min: {number(gate.minimum)} is more than `max` ({number(gate.maximum)}).")
    if gate.failure_limit >= gate.count:
        raise DefinitionError(
            f"{at}:failure_limit: {gate.failure_limit} is not less than `count` ({gate.count}). The gate could never"
            " fail."
        )


def fill(text: str, values: Mapping[str, object]) -> str:
    """Return ``text`` with placeholders like ``{version}`` filled in. All other braces stay."""
    return PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)


def filled_url(url: str, values: Mapping[str, str]) -> str:
    """Return ``url`` filled in. The values are escaped, because a plus sign in a version means a space in a URL."""
    return fill(url, {key: urllib.parse.quote(value, safe="") for key, value in values.items()})
