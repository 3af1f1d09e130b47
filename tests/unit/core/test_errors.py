"""Mistakes are collected, and a failure is told by its cause."""

import pytest
from saltdeploy.core import errors
from saltdeploy.core.errors import DefinitionError, Failed, Mistakes, Refused


def wrong(sentence):
    raise DefinitionError(sentence)


def test_all_mistakes_are_said_once_and_in_order():
    mistakes = Mistakes(["a"])
    assert mistakes.attempt(wrong, "b\nc") is None
    assert mistakes.attempt(wrong, "a", default=5) == 5
    mistakes.add("d")
    assert mistakes.found == ["a", "b", "c", "d"]
    with pytest.raises(DefinitionError, match="^a\nb\nc\nd$"):
        mistakes.refuse()


def test_what_works_has_a_result_and_no_mistake():
    mistakes = Mistakes()
    assert mistakes.attempt(max, 1, 2, default=5) == 2
    mistakes.refuse()


@pytest.mark.parametrize("exc", [Refused("x"), Failed("x"), KeyError("x"), KeyboardInterrupt()])
def test_only_mistakes_in_a_definition_are_collected(exc):
    def other():
        raise exc

    with pytest.raises(type(exc)):
        Mistakes().attempt(other)


def test_an_exception_before_any_change_is_marked():
    with pytest.raises(ValueError) as caught, errors.unchanged():
        raise ValueError("x")
    assert caught.value.unchanged is True


def test_an_interrupt_is_not_marked():
    with pytest.raises(KeyboardInterrupt) as caught, errors.unchanged():
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "unchanged")


@pytest.mark.parametrize(
    "exc, cause",
    [
        (Failed("no answer of web1"), "no answer of web1"),
        (FileNotFoundError(2, "No such file"), "FileNotFoundError: [Errno 2] No such file"),
        (KeyboardInterrupt(), "it was interrupted"),
        (SystemExit(1), "it was interrupted"),
        (ValueError("hunter2"), "ValueError (this is a bug: the traceback is in the debug log)"),
    ],
)
def test_the_cause_of_a_failure(exc, cause):
    assert errors.cause(exc) == cause
