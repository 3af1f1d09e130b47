"""The message on a mistake in somebody's own template: its line and the problem, without any quote."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import jinja2
import yaml
from salt.exceptions import SaltException

from ..core import tracebacks, words
from . import yamlfile

if TYPE_CHECKING:
    from collections.abc import Iterator

# Salt's messages on a name that is not found, or on wrong Jinja: their quotes are names, and no values.
NAMED = ("Jinja variable", "Jinja syntax error", "Specified SLS")
# Salt's message on any other exception in a template begins so.
RAISED = "Jinja error: "
# The loggers that log a mistake, with a piece of the template around it.
LOGGERS = (
    "salt.pillar",
    "salt.state",
    "salt.template",
    "salt.utils.templates",
    "salt.renderers",
    "salt.loaded.int.render",
)
# The name of an SLS in Salt's messages.
SLS = re.compile(r"SLS '?(?:[\w-]+:)?([\w./-]+)'?")
UNRENDERED = re.compile(r"Rendering SLS '?[^' ]+'? failed(?:, render error)?:\s*(.*)", re.DOTALL)


def mistake(exc: Exception) -> str:
    """Return the message of ``exc``, raised by one of Salt's renderers: ``line 3: Jinja variable 'x' is undefined``."""
    error = getattr(exc, "error", exc)
    if isinstance(error, yaml.YAMLError):
        return yamlfile.problem(error)
    line, text, cause = getattr(exc, "line_num", None), str(error), exc.__context__
    if text.startswith(tracebacks.BEGUN):  # The traceback of a program.
        said = tracebacks.of_traceback(text)
    elif text.startswith(RAISED) and cause and not isinstance(cause, (jinja2.TemplateError, SaltException)):
        said = f"{RAISED}{words.message(tracebacks.told(cause))}"
    else:
        said = first_line(text) or type(exc).__name__
    return f"{f'line {line}: ' if line else ''}{said}"


def sls_mistake(text: str) -> str:
    """Return Salt's message on a mistake in an SLS: the name of the SLS, its line if known, and the problem."""
    unrendered, sls = UNRENDERED.match(text), SLS.search(text)
    said = first_line(words.without_traceback(unrendered[1] if unrendered else text))
    return f"{sls[1]}: {said}" if sls and sls[1] not in said else said


def first_line(text: str) -> str:
    """Return the first line of Salt's message on a mistake, with the number of the mistake's line if Salt says it.

    The lines after it show the template, which may have secrets.
    """
    first = next(iter(text.strip().splitlines()), "")
    if not first.startswith(NAMED):
        first = yamlfile.QUOTED.sub("something", first)
    more = re.search(r"^\s*in \"[^\"]*\", (line [0-9]+)", text, re.MULTILINE)
    return words.message(first.rstrip(".;") + (f"; {more[1]}" if more and "line" not in first else ""))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Salt's messages on mistakes in a template out of the log: they show the template, which may have secrets."""
    with words.unlogged(*LOGGERS):
        yield
