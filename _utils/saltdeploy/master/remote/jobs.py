"""Runs a phase of a deployment as one Salt job, which reports answers as they come and fails as a whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any

from ...core import deadlines, words
from ...core.errors import Failed
from ...discovery.registration import first_result
from . import answers

if TYPE_CHECKING:
    from ...core.model import App, Instance
    from ..journal import Journal
    from .fleet import Fleet, Reply

# How long a job may take that only talks to its own agent, in seconds. The job waits out a lost leader.
TALK_DEADLINE = 60.0
# Jobs that wait until instances are ready.
WAITING = ("app.start", "app.restart", "app.reload", "app.restore")
# How much of a node's text is shown, in characters.
SHOWN = 600


class PhaseFailed(Failed):
    """A phase failed.

    :param phase: its name.
    :param problems: the problem of each node on which it failed.
    :param values: the values that the other nodes returned.
    """

    def __init__(self, phase: str, problems: Mapping[str, str], values: Mapping[str, Any]) -> None:
        self.phase, self.problems, self.values = phase, dict(sorted(problems.items())), values
        super().__init__(told_failure(phase, self.problems))

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes on which it failed."""
        return list(self.problems)


def told_failure(phase: str, problems: Mapping[str, str]) -> str:
    """Return the message that ``phase`` failed: each problem once, with all nodes that have it."""
    return words.without_period(words.by_problem(problems, f"{phase} on "))


class Jobs:
    """Runs phases on an open fleet.Fleet and writes them to a journal.Journal."""

    def __init__(self, fleet: Fleet, journal: Journal) -> None:
        self.fleet, self.journal = fleet, journal

    def run(
        self,
        phase: str,
        function: str,
        nodes: Collection[str],
        *args: Any,
        told: Callable[[Any], str],
        answer: Callable[[str, Any], str] = lambda node, value: "",
        wrong: Callable[[Any], str] = lambda value: "",
        deadline: float = TALK_DEADLINE,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Run ``function`` on ``nodes``, and report each answer as it comes. Return ``{node: value}``.

        :param told: ``told(value)`` returns the journal's text on a good value.
        :param answer: ``answer(node, value)`` returns the problem of an answer as such, or an empty text: see answers.
        :param wrong: ``wrong(value)`` returns the problem of a value, or an empty text.
        :param deadline: seconds for the entire job.
        :raises PhaseFailed: naming every failed node and the reason.
        """
        if not nodes:
            return {}
        self.journal.begin(phase, sorted(nodes))
        problems: dict[str, str] = {}

        def tell(reply: Reply) -> None:
            for text in warnings(reply.value):
                self.journal.warn(f"{reply.node}: {text}")
            problem = reply.error or answers.told(answer(reply.node, reply.value)) or wrong(reply.value)
            if problem:
                problems[reply.node] = problem
            self.journal.add(phase, reply.node, problem or told(reply.value), reply.seconds, not problem)

        if function in WAITING:
            kwargs["on_wait"] = lambda pending: self._tell_waiting(pending, args[0])
        replies = self.fleet.run(function, nodes, *args, deadline=deadline, on_reply=tell, **kwargs)
        values = {node: reply.value for node, reply in replies.items() if node not in problems}
        if problems:
            raise PhaseFailed(phase, problems, values)
        return values

    def _tell_waiting(self, nodes: Collection[str], app: str) -> None:
        """Report why the instances that ``nodes`` are starting are not ready yet."""
        for node, notes in self.fleet.aside("app.waiting", nodes, app).items():
            for instance, text in notes.items() if isinstance(notes, dict) else ():
                self.journal.say(f"{node}: {str(instance)[:SHOWN]} {str(text)[:SHOWN]}")

    def attempt(self, *args: Any, **kwargs: Any) -> list[str]:
        """Like :meth:`run`, for a revert. Return the problems as a list of sentences."""
        try:
            self.run(*args, **kwargs)
        except Failed as exc:
            return [str(exc)]
        return []


def ids_by_node(instances: Iterable[Instance]) -> dict[str, list[str]]:
    """Return ``{node: [id, …]}``."""
    grouped: dict[str, list[str]] = {}
    for instance in instances:
        grouped.setdefault(instance.node, []).append(instance.id)
    return grouped


def most(by_node: Mapping[str, Sized]) -> int:
    """Return the length of the longest value: the most that any node has to do in a row."""
    return max(map(len, by_node.values()), default=0)


def told_ids(value: Any) -> str:
    """Return the ids of a job's instances, as text."""
    return ", ".join(value["instances"] if isinstance(value, dict) else value) or "nothing left"


def publish_deadline(app: App) -> float:
    """Return how long a job that publishes instances of ``app`` may take, in seconds."""
    return TALK_DEADLINE + first_result(app)


def warnings(value: object) -> list[str]:
    """Return the warnings in the value that a node returned, as sentences."""
    found = value.get("warnings") if isinstance(value, dict) else None
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def misshapen_states(value: object) -> str:
    """Return the problem of an answer to ``state.apply``, or an empty text."""
    whole = isinstance(value, dict) and all(isinstance(state, dict) for state in value.values())
    return "" if whole else f"found {words.shown(value)}, the results of states are expected"


def stop_deadline(app: App, ids: Mapping[str, Sized]) -> float:
    """Return how long a job that retires ``ids`` of ``app`` may take, in seconds.

    :param app: its stop timeout is the longest of all existing instances: see Site.app.
    """
    ending = deadlines.ending(app.stop.timeout, most(ids))
    return deadlines.CATALOG + app.strategy.drain + ending + most(ids) + TALK_DEADLINE
