"""The events of a run, one for each of its steps. Pure: :mod:`saltdeploy.master.notify` sends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from .environment import Webhook
from .errors import DefinitionError
from .phases import PHASES
from .words import by_problem

if TYPE_CHECKING:
    from .protocols import Step

# The last part of each tag. Reactors depend on these names: more may come, and none is renamed.
EVENTS = (
    "begin",
    "clean",
    "install",
    "start",
    "test",
    "publish",
    "weigh",
    "register",
    "healthy",
    "measure",
    "retire",
    "restart",
    "reload",
    "withdraw",
    "stop",
    "restore",
    "prune",
    *PHASES,
    "paused",
    "end",
)
# An error is cut to this many characters. It may be the output of an installation, and a chat has to show it.
ERROR = 1000


def tag(environment: str, app: str, what: str) -> str:
    """Return the tag of the event ``what``, which is in EVENTS."""
    return f"saltdeploy/{environment}/{app}/{what}"


def shortened(error: str) -> str:
    """Return ``error``, cut to the length that it may have in an event."""
    return error if len(error) <= ERROR else f"{error[:ERROR]}…"


def webhook(raw: Mapping[str, Any], at: str) -> Webhook | None:
    """Return the Webhook that an environment's ``notify`` describes, None if it has none.

    :param at: its key path, for messages.
    :raises DefinitionError: it cannot be used. The message does not show the value: it may be a secret.
    """
    settings = raw.get("webhook")
    if settings is None:
        return None
    if "url" not in settings:
        raise DefinitionError(f"{at}:webhook:url: is missing")
    try:
        parts = urlsplit(settings["url"])
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise DefinitionError(f"{at}:webhook:url: needs a host, and a port from 1 to 65535 if any: https://HOST/…")
    if settings.get("token_file") and "authorization" in map(str.lower, settings.get("headers", ())):
        raise DefinitionError(f"{at}:webhook:headers: Authorization is made of `token_file`: say one of them.")
    return Webhook(
        settings["url"],
        dict(settings.get("headers", {})),
        settings.get("token_file", ""),
        tuple(settings.get("events", EVENTS)),
    )


class Tell(Protocol):
    """Sends the event ``what`` with its data."""

    def __call__(self, what: str, **data: Any) -> None: ...


class Phases:
    """Makes an event of each phase from the steps that a journal gets node by node.

    :param tell: called when a phase has ended everywhere.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell, self._phase = tell, ""
        self._nodes: list[str] = []
        self._steps: list[Step] = []
        self.touched: set[str] = set()

    def begin(self, phase: str, nodes: Iterable[str]) -> None:
        """Begin ``phase`` on ``nodes``."""
        self.cut()
        self._phase, self._nodes, self._steps = phase, sorted(nodes), []
        # A test changes nothing where it runs.
        self.touched |= set(nodes) if phase != "test" else set()

    def add(self, step: Step) -> None:
        """Add a step that ended on its node, or everywhere if it has no node."""
        if step.phase != self._phase:
            self.begin(step.phase, [step.node] if step.node else [])
        self._steps.append(step)
        if not step.node or {s.node for s in self._steps} >= set(self._nodes):
            problems = {s.node: s.what for s in sorted(self._steps, key=lambda s: s.node) if not s.ok}
            self._end(problems.get("") or by_problem(problems))

    def cut(self) -> None:
        """End a phase that was interrupted before all nodes answered."""
        if self._phase:
            silent = sorted(set(self._nodes) - {s.node for s in self._steps})
            self._end(f"it was interrupted before {', '.join(silent)} answered")

    def _end(self, error: str) -> None:
        phase, self._phase = self._phase, ""
        seconds = max((s.seconds for s in self._steps), default=0.0)
        outcome = "failed" if error else "done"
        self._tell(phase, nodes=self._nodes, seconds=seconds, outcome=outcome, error=shortened(error))
