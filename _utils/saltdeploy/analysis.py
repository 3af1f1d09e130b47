"""Whether what is measured of a new release is good enough. Pure: measurements in, a verdict out.

The words are those of the field: ``interval``, ``count`` and ``failure_limit`` of Argo Rollouts, ``min`` and ``max`` of
Flagger.
"""

from __future__ import annotations

import json
import math
import re
import urllib.parse
from dataclasses import dataclass

from . import bounds, durations, placeholders
from .errors import DefinitionError
from .model import Gate
from .words import nearest, shown

KINDS = ("http", "prometheus", "command")
PLACEHOLDERS = ("app", "version", "environment")
# Only a brace with one word in it: PromQL has braces of its own, but never such.
PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
# How much of an answer, in characters, and how many measurements, the newest, a message shows.
SHOWN = 200
LISTED = 10


class Inconclusive(Exception):
    """Nothing that could be judged was measured; the message says why."""


@dataclass(frozen=True)
class Measurement:
    """What was measured once: a number, or, without one, why there is none.

    :param value: the number; of a command that is judged by its exit code, that.
    :param why: why there is no number, or what is to be known beside it.
    """

    value: float | None
    why: str = ""

    def __str__(self):
        if self.value is None:
            return f"inconclusive ({self.why})"
        return number(self.value) + (f" ({self.why})" if self.why else "")


def good(gate, measurement):
    """Return whether ``measurement`` is as ``gate`` wants it. One that is inconclusive is not."""
    value = measurement.value
    if value is None:
        return False
    if gate.by_exit_code:
        return value == 0
    return (gate.minimum is None or value >= gate.minimum) and (gate.maximum is None or value <= gate.maximum)


def verdict(gate, measurements):
    """Return None while there is more to measure, an empty text if the gate is passed, else the sentence why not.

    :param measurements: those taken so far, the oldest first.
    """
    bad = sum(not good(gate, m) for m in measurements)
    if bad > gate.failure_limit:
        listed = ["…"] * (len(measurements) > LISTED) + [str(m) for m in measurements[-LISTED:]]
        return (
            f"analysis {gate.name} failed: measured {', '.join(listed)}; wanted is {condition(gate)},"
            f" {bad} of {len(measurements)} {'was' if bad == 1 else 'were'} not, and {gate.failure_limit} may be"
        )
    return None if len(measurements) < gate.count else ""


def condition(gate):
    """Return in words what ``gate`` wants of a measurement."""
    if gate.by_exit_code:
        return "exit code 0"
    limits = [("at least", gate.minimum), ("at most", gate.maximum)]
    return " and ".join(f"{words} {number(limit)}" for words, limit in limits if limit is not None)


def number(value):
    """Return ``value`` as text, precise enough to tell it from the limit it has passed."""
    return f"{value:.15g}"


# -- what was answered ------------------------------------------------------------------------


def from_json(text, pointer):
    """Return the number at ``pointer`` (a JSON Pointer, RFC 6901) in a JSON document.

    :raises Inconclusive: it is no JSON, nothing is there, or no number.
    """
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise Inconclusive(f"the answer is no JSON: {text[:SHOWN]!r}") from exc
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key) if isinstance(found, list) else key]
        except (KeyError, IndexError, ValueError, TypeError) as exc:
            raise Inconclusive(f"no data: the answer has nothing at {pointer}") from exc
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise Inconclusive(f"at {pointer or 'the top'} is {shown(found)}, no number")
    return _finite(found)


def from_prometheus(text):
    """Return the one number in what ``/api/v1/query`` of Prometheus answered.

    :raises Inconclusive: the query failed, or gave nothing, or more than one series.
    """
    try:
        answer = json.loads(text)
        if answer["status"] != "success":
            raise Inconclusive(f"{answer.get('errorType')}: {answer.get('error')}"[:SHOWN])
        kind, result = answer["data"]["resultType"], answer["data"]["result"]
        if kind == "vector":
            if len(result) != 1:
                raise Inconclusive(
                    f"the query gave {len(result)} series: make one of them, with sum() for example"
                    if result
                    else "no data: the query gave no series"
                )
            return _finite(result[0]["value"][1])
        if kind == "scalar":
            return _finite(result[1])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise Inconclusive(f"not what Prometheus answers to a query: {text[:SHOWN]!r}") from exc
    raise Inconclusive(f"the query gave a {kind}: an instant vector or a scalar is wanted")


def from_command(gate, code, output):
    """Return the Measurement of a command that ended with ``code`` and printed ``output``.

    :param code: None where it did not run to its end; ``output`` says why then.
    :raises Inconclusive: it did not, or did not print the number that is wanted.
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
        raise Inconclusive(f"the last line that the command printed is no number: {last!r}") from exc


def _finite(value):
    try:
        value = float(value)
    except OverflowError as exc:
        raise Inconclusive("the number is too large") from exc
    if not math.isfinite(value):
        raise Inconclusive(f"measured {value:g}, no finite number")
    return value


# -- definitions ------------------------------------------------------------------------------


def gates(raw, at, usable):
    """Return the Gates that ``strategy: {analysis: …}`` describes.

    :param raw: as it is written, the schema's demands met.
    :param at: its key path, for messages.
    :param usable: the placeholders that a command may have.
    :raises DefinitionError: naming the key path.
    """
    made = tuple(_gate(one, f"{at}:{position}") for position, one in enumerate(raw))
    for position, gate in enumerate(made):
        if gate.kind == "command":
            placeholders.check(gate.command, f"{at}:{position}:command", usable)
    names = [gate.name for gate in made]
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DefinitionError(f"{at}:{position}:name: there is another `{name}`: messages tell them by name.")
    return made


def _gate(raw, at):
    kinds = [k for k in KINDS if k in raw]
    if len(kinds) != 1:
        raise DefinitionError(f"{at}: needs exactly one of {', '.join(KINDS)}, found {' and '.join(kinds) or 'none'}.")
    [kind] = kinds
    if kind == "command":
        where = {"command": raw["command"]}
    else:
        source = raw[kind]
        where = {"url": source["url"], "headers": _headers(source.get("headers", {}), f"{at}:{kind}")}
        where.update({"pointer": source["json"]} if kind == "http" else {"query": source["query"]})
    gate = Gate(
        name=raw["name"],
        kind=kind,
        minimum=raw.get("min"),
        maximum=raw.get("max"),
        **where,
        **{key: durations.seconds(raw[key]) for key in ("interval", "timeout") if key in raw},
        **{key: raw[key] for key in ("count", "failure_limit") if key in raw},
    )
    _check(gate, raw, at)
    return gate


def _headers(raw, at):
    """Return headers without the newline that YAML leaves at the end of a block. Values are secrets: none is shown."""
    headers = {name: value.strip() for name, value in raw.items()}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise DefinitionError(f"{at}:headers:{name}: has characters that no header may have: only printable ASCII.")
    return headers


def _check(gate, raw, at):
    for key in ("interval", "timeout"):
        if not 0 < getattr(gate, key) <= bounds.DURATION:
            raise DefinitionError(
                f"{at}:{key}: found {shown(raw[key])}, allowed is more than 0, and at most {bounds.LONGEST}"
            )
    if gate.by_exit_code and gate.kind != "command":
        raise DefinitionError(f"{at}: needs `max` or `min`, or both: else any number would be good.")
    if None not in (gate.minimum, gate.maximum) and gate.minimum > gate.maximum:
        raise DefinitionError(f"{at}:min: found {number(gate.minimum)}, allowed is at most `max`")
    if gate.failure_limit >= gate.count:
        raise DefinitionError(
            f"{at}:failure_limit: found {gate.failure_limit}, allowed is less than `count` ({gate.count}): else it"
            " never fails."
        )
    for key in ("url", "query"):
        for name in PLACEHOLDER.findall(getattr(gate, key)):
            if name not in PLACEHOLDERS:
                named = "" if key == "url" else f" {{{name}}}"  # a token may be in a URL
                raise DefinitionError(
                    f"{at}:{gate.kind}:{key}: unknown placeholder{named}{nearest(name, PLACEHOLDERS)}."
                    f" Allowed: {', '.join(PLACEHOLDERS)}."
                )


def fill(text, values):
    """Return ``text`` with ``{version}`` and the like filled in; all other braces stay."""
    return PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)


def filled_url(url, values):
    """Return ``url`` filled in: a version may have a plus sign, which means a space there."""
    return fill(url, {key: urllib.parse.quote(value, safe="") for key, value in values.items()})
