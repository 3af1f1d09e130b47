"""Foreign values and texts in a message: always short, and harmless to a terminal."""

from __future__ import annotations

import contextlib
import difflib
import itertools
import logging
import re
import reprlib
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

# How long a value, and a whole message, may be, in characters.
VALUE, MESSAGE = 60, 2000
# How many names are listed, and how many are looked through for a similar one.
LISTED, COMPARED = 20, 1000
# An integer from here on has more digits than a message shows. Python refuses to write more than 4300 digits at all.
HUGE = 10**VALUE
# Control characters except line break and tab, and halves of characters. HARMFUL adds invisible characters, and
# characters that turn the direction of text. A text may have these, and a message may not.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
# Below these keys are secrets, so a key of another form may be a secret. Without a space, YAML takes `NAME:secret` for
# a key.
SECRETIVE = {
    **dict.fromkeys(("env", "vars"), re.compile("[A-Za-z_][A-Za-z0-9_]*")),
    "headers": re.compile("[A-Za-z0-9-]+"),
}


class _Short(reprlib.Repr):
    """``repr`` that looks at the beginning of a value only."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 4
        self.maxother = self.maxlong = VALUE

    def repr_str(self, value: str, _level: int) -> str:
        return repr(value[: VALUE + 1])

    def repr_bytes(self, value: bytes, _level: int) -> str:
        return repr(value[: VALUE + 1])

    def repr_int(self, value: int, _level: int) -> str:
        return repr(value) if abs(value) < HUGE else f"a number of about {round(value.bit_length() * 0.30103)} digits"


def shown(value: object) -> str:
    """Return ``value`` for a message, cut to 60 characters, with control characters escaped."""
    text = _Short().repr(value)
    return harmless(text if len(text) <= VALUE else text[: VALUE - 3] + "…")


def name(value: object) -> str:
    """Return ``value``, a key or a name, without quotes if it can be read without them."""
    if isinstance(value, str) and 0 < len(value) <= VALUE and value.isprintable():
        return harmless(value)
    return shown(value)


def path(keys: Iterable[object], definitions: object = None) -> str:
    """Return the key path of ``keys``, without the parts that may be secret.

    :param definitions: the definitions that the path is in. A key that is not shown is named by its number there.
    """
    said: list[str] = []
    above: object = None
    for key in keys:
        said.append(_key(above, key, definitions))
        definitions, above = _within(definitions, key), key
    return ":".join(said)


def without_value(key: object) -> object:
    """Return ``key`` without the text after a colon or an equals sign in it, which may be a secret."""
    begun = re.split("[:=]", key)[0] if isinstance(key, str) else key
    return key if begun == key else f"{begun}…"


def _key(above: object, key: object, mapping: object) -> str:
    names = SECRETIVE.get(above) if isinstance(above, str) else None
    if names is None or (isinstance(key, str) and names.fullmatch(key)):
        return name(without_value(key))
    number = next((n for n, k in enumerate(mapping, 1) if k == key), 0) if isinstance(mapping, dict) else 0
    return f"key number {number}" if number else "a key"


def _within(definitions: object, key: object) -> object:
    if isinstance(definitions, dict):
        return definitions.get(key)
    return definitions[key] if isinstance(definitions, list) and isinstance(key, int) else None


def listed(names: Iterable[object]) -> str:
    """Return the first 20 of the sorted ``names``, separated by commas, or ``none`` if there are none."""
    ordered = sorted(map(name, names))
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ", ".join(ordered[:LISTED]) + more or "none"


def nearest(given: object, known: Iterable[object]) -> str:
    """Return `` (did you mean `x`?)`` if a name in ``known`` is much like ``given``, else an empty text."""
    match = alike(given, known)
    return f" (did you mean `{harmless(match)}`{odd(match)}?)" if match else ""


def alike(given: object, known: Iterable[object]) -> str:
    """Return the name in ``known`` that is much like ``given``, or an empty text if none is."""
    if not isinstance(given, str) or len(given) > 4 * VALUE:
        return ""
    candidates = [k for k in list(known)[:COMPARED] if isinstance(k, str) and len(k) <= 4 * VALUE]
    return next(iter(difflib.get_close_matches(given, candidates, n=1)), "")


def odd(value: object) -> str:
    """Return a sentence on the first character of ``value`` that is not printable ASCII, or an empty text."""
    if not isinstance(value, str):
        return ""
    found = next(((n, c) for n, c in enumerate(value, 1) if not " " <= c <= "~"), None)
    if not found:
        return ""
    number, char = found
    named = unicodedata.name(char, "a control character" if unicodedata.category(char) == "Cc" else "no character")
    return f": character {number} is U+{ord(char):04X} ({named}), and only ASCII is allowed"


def joined(texts: Iterable[str]) -> str:
    """Return sentences as one text, with ``;`` between them. Only the last sentence keeps its period."""
    texts = list(texts)
    return "; ".join([*map(without_period, texts[:-1]), *texts[-1:]])


def without_period(text: str) -> str:
    """Return ``text`` without the period at its end, for a text that goes on. An ellipsis stays."""
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def by_problem(problems: Mapping[str, str], lead: str = "") -> str:
    """Say each problem once, with all the nodes that have it.

    Problems that differ only in the name of their own node are the same problem.

    :param problems: node -> the problem.
    :param lead: the words before the nodes: ``install on ``.
    """
    nodes: dict[str, list[str]] = {}
    for node, problem in problems.items():
        nodes.setdefault(re.sub(rf" on {re.escape(node)}(?!\.?[\w-])", "", problem), []).append(node)
    return joined(
        f"{lead}{', '.join(sorted(some))}: {problem if len(some) > 1 else problems[some[0]]}"
        for problem, some in nodes.items()
    )


def reading(value: object) -> str:
    """Return the advice for a word that YAML did not read as text, or an empty text for a text or a number."""
    if isinstance(value, bool):
        return " (YAML reads on, off, yes, no, true and false so: quote the text)"
    if value is None:
        return " (YAML reads nothing, ~ and null so: quote the text)"
    return ""


def harmless(text: str) -> str:
    """Return ``text`` with characters escaped that could act on a terminal, or that cannot be written there."""
    return HARMFUL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def without_traceback(text: str) -> str:
    """Return ``text`` without the traceback in it: the text before it, and the text of the last exception."""
    before, found, _ = text.partition("Traceback (most recent call last)")
    if not found:
        return text
    lines = text.rpartition("Traceback (most recent call last)")[2].splitlines()[1:]
    said = itertools.dropwhile(lambda line: line.startswith(" "), lines)
    return f"{before.rstrip()} {' '.join(line.strip() for line in said)}".rstrip()


@contextlib.contextmanager
def unlogged(*names: str) -> Iterator[None]:
    """Keep the messages of the loggers ``names``, and of the loggers below them, out of every log, in this thread.

    For libraries that log secrets: a path with a token in it, a template with a password.
    """
    thread = threading.get_ident()

    def kept(record: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    known = [name for name in logging.root.manager.loggerDict if name.startswith(names)]
    loggers = [logging.getLogger(name) for name in {*names, *known}]
    for logger in loggers:
        logger.addFilter(kept)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(kept)


def message(text: str) -> str:
    """Return ``text`` as a message: harmless, and of 2000 characters at most."""
    text = text if len(text) <= MESSAGE else f"{text[: MESSAGE - 20]}… (cut)"
    return harmless(text)
