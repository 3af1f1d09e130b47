"""What nobody should write, and somebody will: values for any place where something else is expected."""

from __future__ import annotations

LONG = 100_000
# One of each kind, and for each kind what is known to break a program that did not expect it.
JUNK = {
    "nothing": None,
    "true": True,
    "false": False,
    "empty text": "",
    "zero": 0,
    "negative": -1,
    "fraction": 1.1,
    "not a number": float("nan"),
    "infinite": float("inf"),
    "large number": 10**30,
    # Python refuses to write it, and msgpack to send it.
    "huge number": 10**5000,
    "hexadecimal number": 1 << 40_000,
    "list": [],
    "list in a list": [[]],
    "list of nothing": [None],
    "mapping": {},
    "key that is a number": {1: 2},
    "key that is nothing": {None: {}},
    "key that is true": {True: "x"},
    "bytes": b"\xff",
    "set": {1},
    "tuple": (1,),
    "object": object(),
    "NUL": "a\0b",
    "line break": "1.0\n",
    "two lines": "a\nb",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "upwards": "../../../etc",
    "absolute": "/etc/passwd",
    "option": "--help",
    "shell": "$(reboot); `reboot`",
    "glob": "*",
    "template": "{{ 1 }} {0.__class__} {",
    "look-alike": "sh\u043ep",
    "half a character": "\ud800",
    "turned text": "\u202egpj.exe",
    "long text": "x" * LONG,
    "long list": ["x"] * LONG,
    "long number of seconds": "9" * 400 + "s",
    "seconds and a line break": "10s\n",
    "reversed range": "20010-20000",
    "range from zero": "0-5",
    "range beyond all ports": "1-99999",
}


def nested(depth):
    """Return a list in a list in a list …"""
    value = []
    for _ in range(depth):
        value = [value]
    return value


def itself():
    """Return a list that holds itself, as YAML's ``&a [*a]`` makes one."""
    value = []
    value.append(value)
    return value


def many(times=40):
    """Return a value that is small, and has 2 ** ``times`` entries if each is looked at: YAML's anchors."""
    value = ["x"]
    for _ in range(times):
        value = [value, value]
    return value


DEEP = {
    "deep": nested(100_000),
    "itself": itself(),
    "many of the same": many(),
    "many at little depth": [[["x"] * 999] * 999] * 999,
}
ALL = {**JUNK, **DEEP}


def is_fit_to_be_shown(text):
    """Return whether a message is short, in characters that do nothing to a terminal and can be written to it."""
    text.encode()
    return 0 < len(text) <= 3000 and all(c.isprintable() or c == "\n" for c in text)
