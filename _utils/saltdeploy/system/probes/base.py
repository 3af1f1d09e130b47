"""The protocol of a kind of probe, and the exception that all kinds raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ...core.model import Probe

# The most characters of an answer, or of a command's output, that a result has.
SHOWN = 300


class ProbeFailed(Exception):
    """The instance did not answer as it must.

    :param refused: nothing listens at the address and port of the request.
    :param status: the HTTP status of the answer, None without an answer.
    """

    def __init__(self, problem: str, refused: bool = False, status: int | None = None) -> None:
        self.refused, self.status = refused, status
        super().__init__(problem)


class Kind(Protocol):
    """A kind of check or test. No probe outlasts its timeout by much."""

    def filled(self, probe: Probe, values: Mapping[str, Any]) -> Probe:
        """Return ``probe`` as its result describes it: with the placeholders that the result shows filled in."""

    def ask(self, probe: Probe, values: Mapping[str, Any], env: Mapping[str, str] | None, user: str) -> str:
        """Run ``probe`` and return the detail of its result.

        :param values: the instance's placeholders: address, port and so on.
        :param env: the environment of a command.
        :param user: the user that a command runs as. Empty takes the user of this process.
        :raises ProbeFailed: it did not pass.
        """
