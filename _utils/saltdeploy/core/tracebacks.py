"""The words for an unexpected exception: its type and its place. Its text may hold a value of a definition.

The words of the system and of Salt are kept: a file that is missing, a master that does not answer.
"""

from __future__ import annotations

import builtins
import itertools
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

import salt.exceptions
from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError, SaltRenderError

HERE = Path(__file__).parents[1]
BEGUN = "Traceback (most recent call last)"
FRAME = re.compile(r'^ +File "([^"\n]+)", line ([0-9]+)', re.MULTILINE)
# Libraries whose errors have the type of the system's errors, and a URL in their text.
TELLING = ("requests", "urllib3")


def told(exc: BaseException) -> str:
    """Return ``exc`` for a message."""
    if isinstance(exc, (CommandExecutionError, SaltInvocationError)):  # meant for people, as all of our own are
        return str(exc)
    kind = type(exc)
    if is_open(kind):
        return f"{kind.__name__}: {exc}"
    return _at(kind.__name__, [(frame.filename, frame.lineno) for frame in traceback.extract_tb(exc.__traceback__)])


def of_traceback(text: str) -> str:
    """Return the exception at the end of ``text``, a traceback from another process, for a message."""
    last = text.rpartition(BEGUN)[2]
    lines = [line.strip() for line in itertools.dropwhile(lambda line: line.startswith(" "), last.splitlines()[1:])]
    name = (lines or [""])[0].partition(":")[0]
    known = getattr(salt.exceptions if name.startswith("salt.exceptions.") else builtins, name.rpartition(".")[2], None)
    if isinstance(known, type) and is_open(known):
        return " ".join(lines).removeprefix("salt.exceptions.")
    return _at(name, FRAME.findall(last))


def is_open(kind: type) -> bool:
    """Return whether the text of exceptions of the class ``kind`` may be shown: no definition is in it."""
    # Salt quotes a text that it cannot render.
    of_salt = issubclass(kind, SaltException) and not issubclass(kind, SaltRenderError)
    return of_salt or (issubclass(kind, OSError) and kind.__module__.partition(".")[0] not in TELLING)


def _at(name: str, frames: Sequence[tuple[str, object]]) -> str:
    """Return the type and where it was raised: in our own code or in an SLS, if that is among the frames."""
    own = [frame for frame in frames if HERE.name in Path(frame[0]).parts or frame[0].endswith(".sls")]
    places = [f" at {Path(path).name}:{line}" for path, line in (own or frames)[-1:]]
    return f"{name or 'an exception'}{''.join(places)}"
