"""What is said of a mistake in somebody's own template: its line and what is wrong, and nothing that it quotes."""

from __future__ import annotations

import contextlib
import re

import jinja2
import yaml
from salt.exceptions import SaltException

from ..core import tracebacks, words
from . import yamlfile

# What of a template is not found, or is not as Jinja has it: these words are names, and no values.
NAMED = ("Jinja variable", "Jinja syntax error", "Specified SLS")
# What Salt says of any other exception in a template.
RAISED = "Jinja error: "
# Who logs a mistake, with a piece of the template around it.
LOGGERS = (
    "salt.pillar",
    "salt.state",
    "salt.template",
    "salt.utils.templates",
    "salt.renderers",
    "salt.loaded.int.render",
)
# How Salt names an SLS in what it says of one.
SLS = re.compile(r"SLS '?(?:[\w-]+:)?([\w./-]+)'?")
UNRENDERED = re.compile(r"Rendering SLS '?[^' ]+'? failed(?:, render error)?:\s*(.*)", re.DOTALL)


def mistake(exc):
    """Return what ``exc``, raised by one of Salt's renderers, says: ``line 3: Jinja variable 'x' is undefined``."""
    error = getattr(exc, "error", exc)
    if isinstance(error, yaml.YAMLError):
        return yamlfile.problem(error)
    line, text, cause = getattr(exc, "line_num", None), str(error), exc.__context__
    if text.startswith(tracebacks.BEGUN):  # of a program
        said = tracebacks.of_traceback(text)
    elif text.startswith(RAISED) and cause and not isinstance(cause, (jinja2.TemplateError, SaltException)):
        said = f"{RAISED}{words.message(tracebacks.told(cause))}"
    else:
        said = first_line(text) or type(exc).__name__
    return f"{f'line {line}: ' if line else ''}{said}"


def sls_mistake(text):
    """Return what Salt says of a mistake in an SLS: the name of the SLS, its line if known, and what is wrong."""
    unrendered, sls = UNRENDERED.match(text), SLS.search(text)
    said = first_line(words.without_traceback(unrendered[1] if unrendered else text))
    return f"{sls[1]}: {said}" if sls and sls[1] not in said else said


def first_line(text):
    """Return the first line of what Salt says of a mistake, and the number of the line it is in, if it says that.

    The lines after it show the template, in which secrets may be.
    """
    first = next(iter(text.strip().splitlines()), "")
    if not first.startswith(NAMED):
        first = yamlfile.QUOTED.sub("something", first)
    more = re.search(r"^\s*in \"[^\"]*\", (line [0-9]+)", text, re.MULTILINE)
    return words.message(first.rstrip(".;") + (f"; {more[1]}" if more and "line" not in first else ""))


@contextlib.contextmanager
def quiet():
    """Keep what Salt says of a mistake in a template out of the log: it shows the template, which may have secrets."""

    with words.unlogged(*LOGGERS):
        yield
