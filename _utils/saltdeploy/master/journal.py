"""The steps of a deployment, as they happen and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..core.phases import PHASES

if TYPE_CHECKING:
    from ..core.events import Phases

LONG = ("sync", "states", "install", "start", "healthy", "retire", "restart", "reload", "restore", "stop", "remove")


@dataclass(frozen=True)
class Step:
    """One line of a deployment: a phase ended on a node, or everywhere if there is no node."""

    phase: str
    node: str
    what: str
    seconds: float
    ok: bool


class Journal:
    """Collects steps, and emits each step as it comes.

    :param emit: called with a mapping: ``{"begin": phase, "nodes": [...]}``, ``{"step": {...}}`` or ``{"say": text}``.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        self._emit = emit
        self.steps: list[Step] = []
        self.warnings: list[str] = []
        # The observer makes events of phases while a run changes something. Waves are numbered from 1.
        self.observer: Phases | None = None
        self.wave: int | None = None

    def begin(self, phase: str, nodes: Iterable[str]) -> None:
        """Emit that ``phase`` begins on ``nodes``, if the phase may last."""
        if self.observer:
            self.observer.begin(phase, nodes)
        if phase in LONG or phase in PHASES:
            self._emit({"begin": phase, "nodes": list(nodes)})

    def add(self, phase: str, node: str, what: str, seconds: float, ok: bool = True) -> None:
        """Record that ``phase`` ended on ``node``, after ``seconds``."""
        step = Step(phase, node, what, round(seconds, 3), ok)
        self.steps.append(step)
        self._emit({"step": asdict(step)})
        if self.observer:
            self.observer.add(step)

    def as_data(self) -> list[dict[str, Any]]:
        """Return the steps as a list of mappings."""
        return [asdict(step) for step in self.steps]

    def say(self, text: str) -> None:
        """Emit ``text``, which is no step."""
        self._emit({"say": text})

    def warn(self, text: str) -> None:
        """Emit ``text`` as a warning, and keep it for the result."""
        self.warnings.append(text)
        self._emit({"say": f"warning: {text}"})
