"""How sentences become one message."""

import logging
import threading

import pytest
from saltdeploy.core import words


@pytest.mark.parametrize(
    "texts, expected",
    [
        ([], ""),
        (["a."], "a."),
        (["a.", "b"], "a; b"),
        (["a", "b. c.", "d."], "a; b. c; d."),
        (["a…", "b...", "c"], "a…; b...; c"),
    ],
)
def test_sentences_become_one_text_without_a_period_before_a_semicolon(texts, expected):
    assert words.joined(texts) == words.joined(iter(texts)) == expected


@pytest.mark.parametrize(
    "problems, expected",
    [
        ({}, ""),
        ({"web1": "no.", "web2": "no."}, "web1, web2: no."),
        ({"web1": "no.", "web2": "other."}, "web1: no; web2: other."),
        ({"web1": "full on web1", "web2": "full on web2"}, "web1, web2: full"),
        ({"web1": "full on web1.", "web2": "full on web2."}, "web1, web2: full."),
        ({"web1": "full on web1", "web2": "full on web1"}, "web1: full on web1; web2: full on web1"),
        ({"web1": "full on web1.a", "web1.a": "full on web1.a"}, "web1: full on web1.a; web1.a: full on web1.a"),
        ({"web1": "full on web1"}, "web1: full on web1"),
    ],
)
def test_a_problem_is_said_once_with_all_its_nodes(problems, expected):
    assert words.by_problem(problems) == expected


@pytest.mark.parametrize(
    "value, shown",
    [
        ("shop", "'shop'"),
        ("x" * 58, repr("x" * 58)),
        ("x" * 59, f"'{'x' * 56}…"),
        (10**59, str(10**59)),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, ...]"),
        ("\u202eevil\x1b[2J", r"'\u202eevil\x1b[2J'"),
        (b"x" * 100_000, f"b'{'x' * 55}…"),
    ],
)
def test_a_value_is_shown_short_and_harmless(value, shown):
    assert words.shown(value) == shown and len(words.shown(value)) <= words.VALUE


def test_a_number_with_more_digits_than_python_writes():
    assert words.shown(10**5000) == "a number of about 5000 digits"


@pytest.mark.parametrize(
    "keys, definitions, path",
    [
        (("apps", "shop", "env", "LOG"), None, "apps:shop:env:LOG"),
        (("env", "LOG:hunter2"), {"env": {"A": 1, "LOG:hunter2": None}}, "env:key number 2"),
        (("env", "hunter 2"), None, "env:a key"),
        (("headers", "X-Token: hunter2"), {"headers": {"X-Token: hunter2": None}}, "headers:key number 1"),
        (("run", "x=hunter2"), None, "run:x…"),
        (("checks", 0, "http"), {"checks": [{"http": "/"}]}, "checks:0:http"),
        ((), None, ""),
    ],
)
def test_a_key_path_shows_no_key_that_may_be_a_secret(keys, definitions, path):
    assert words.path(keys, definitions) == path


@pytest.mark.parametrize(
    "given, near",
    [("shpo", " (did you mean `shop`?)"), ("zzz", ""), (None, ""), ("x" * 1000, ""), (["shop"], "")],
)
def test_a_name_that_is_much_like_another_is_named(given, near):
    assert words.nearest(given, ["blog", "shop", 5]) == near


def test_a_character_that_looks_like_another_is_named():
    assert words.odd("sh\u043ep") == (": character 3 is U+043E (CYRILLIC SMALL LETTER O), and only ASCII is allowed")
    assert words.odd("a\x07").startswith(": character 2 is U+0007 (a control character)")
    assert words.odd("shop") == words.odd(5) == ""


@pytest.mark.parametrize(
    "text, told",
    [
        ("no exception", "no exception"),
        ('failed: Traceback (most recent call last):\n  File "x"\n    y\nOSError: full', "failed: OSError: full"),
        (
            "Traceback (most recent call last):\n  a\nKeyError\nTraceback (most recent call last):\n  b\nOSError",
            "OSError",
        ),
    ],
)
def test_of_a_traceback_the_last_exception_stays(text, told):
    assert words.without_traceback(text).strip() == told


def test_only_this_thread_does_not_log(caplog):
    log = logging.getLogger("saltdeploy_test.below")
    with caplog.at_level(logging.DEBUG):
        with words.unlogged("saltdeploy_test"):
            log.error("hunter2")
            other = threading.Thread(target=log.error, args=["of another thread"])
            other.start()
            other.join()
        log.error("afterwards")
    assert caplog.messages == ["of another thread", "afterwards"]


def test_a_message_has_a_longest_length():
    assert words.message("x" * words.MESSAGE) == "x" * words.MESSAGE
    cut = words.message("x" * (words.MESSAGE + 1))
    assert len(cut) < words.MESSAGE and cut.endswith("… (cut)")
