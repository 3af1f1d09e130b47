"""How sentences become one message."""

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
        ({"web1": "full on web1", "web2": "full on web1"}, "web1: full on web1; web2: full on web1"),
        ({"web1": "full on web1.a", "web1.a": "full on web1.a"}, "web1: full on web1.a; web1.a: full on web1.a"),
        ({"web1": "full on web1"}, "web1: full on web1"),
    ],
)
def test_a_problem_is_said_once_with_all_its_nodes(problems, expected):
    assert words.by_problem(problems) == expected
