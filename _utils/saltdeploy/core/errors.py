"""The errors of saltdeploy, as exceptions that Salt already knows how to report."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from salt.exceptions import CommandExecutionError, SaltInvocationError

    from .records import Record
else:
    try:
        from salt.exceptions import CommandExecutionError, SaltInvocationError
    except ModuleNotFoundError:  # the health agent may run in a Python without Salt
        CommandExecutionError, SaltInvocationError = Exception, TypeError

# Exit codes of salt-run, and the word for each.
DONE, REVERTED, NOT_REVERTED, REFUSED = range(4)
# The exceptions that signals raise: Python's for Ctrl-C, and salt-run's for Ctrl-C and SIGTERM.
INTERRUPTS = (KeyboardInterrupt, SystemExit)
log = logging.getLogger(__name__)
T = TypeVar("T")


class Refused(SaltInvocationError):
    """The input is bad, or a precondition is not met: nothing was changed. The message says how to correct it."""


class DefinitionError(Refused):
    """A definition in pillar is wrong: the message has its key path, the wrong value and the allowed form."""


class Mistakes:
    """The mistakes in a definition, which are found part by part and reported all at once.

    :param found: sentences that are known already.
    """

    def __init__(self, found: Iterable[str] = ()) -> None:
        self._found: dict[str, None] = dict.fromkeys(found)

    @property
    def found(self) -> list[str]:
        """The sentences so far, each once."""
        return list(self._found)

    def attempt(self, function: Callable[..., T], *args: Any, default: Any = None) -> T | Any:
        """Return the result of ``function``, or ``default`` if it raises a DefinitionError, which is kept.

        The type says Any for ``default``, because :meth:`refuse` raises before anybody uses it.
        """
        try:
            return function(*args)
        except DefinitionError as exc:
            self._found.update(dict.fromkeys(str(exc).splitlines()))
            return default

    def add(self, sentence: str) -> None:
        """Keep ``sentence``."""
        self._found[sentence] = None

    def refuse(self) -> None:
        """Raise DefinitionError with all mistakes, each on its line, if there are any."""
        if self._found:
            raise DefinitionError("\n".join(self._found))


class Failed(CommandExecutionError):
    """Something was tried and did not work."""


class NotReverted(Failed):
    """A deployment failed and could not be reverted: the operator must look.

    :param record: the record after that, or None if it is not known.
    """

    def __init__(self, message: str, record: Record | None = None) -> None:
        super().__init__(message)
        self.record = record


class DiscoveryUnavailable(Failed):
    """Service discovery (Consul) did not answer, or has no leader."""


class LockLost(Failed):
    """The deployment lock expired or was taken over: this run must write nothing more."""


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Mark any exception that is raised meanwhile: nothing was changed before it."""
    try:
        yield
    except Exception as exc:
        exc.unchanged = True  # type: ignore[attr-defined]  # the mark may be on any exception
        raise


def cause(exc: BaseException) -> str:
    """Return the cause that messages name for ``exc``, which may be any exception."""
    if isinstance(exc, Failed):
        return str(exc)
    if isinstance(exc, Exception):
        log.debug("Unexpected in a deployment", exc_info=exc)
        from . import tracebacks  # it needs Salt, which the health agent may run without

        bug = "" if tracebacks.is_open(type(exc)) else " (this is a bug: the traceback is in the debug log)"
        return f"{tracebacks.told(exc)}{bug}"
    return "it was interrupted"
