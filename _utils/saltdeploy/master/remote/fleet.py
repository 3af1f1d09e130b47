"""The only module that talks to minions: one Salt job, its replies as they come, none missing.

A missing answer is a failure, never a success.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import salt.client
import salt.config
from salt.exceptions import SaltClientError, SaltReqTimeoutError

from ...core import tracebacks
from ...core.errors import Failed
from ...core.words import joined
from .. import signals

# How long the event bus is left alone between two looks at it, in seconds (as LocalClient does).
POLL = 0.01

# How often to ask about a job that lasts, and how long the answers may take, in seconds.
WORD, WORD_DEADLINE = 10.0, 5.0

# How long to wait before asking a node again that applies states, in seconds, plus or minus a half. So two runs that
# blocked each other do not ask again at the same moment. The time doubles each time, up to a maximum, because each
# request costs the node a process.
RETRY, RETRY_MOST = 1.0, 8.0
# How long the master may take to accept a job, in seconds, as in its `publish_timeout`. Salt 3008 would ask a dead
# master three times, for a minute each.
PATIENCE = {"request_channel_timeout": 30, "request_channel_tries": 1}

UNKNOWN = "the Salt master has no minion of this name: is its salt-minion running, and its key accepted (salt-key -L)?"


# How Salt reports an unexpected exception. In our code or Salt's it is a bug, and the minion's log has all of it. An
# app's traceback may be anywhere in the text of a node.
UNCAUGHT = "The minion function caused an exception: Traceback (most recent call last):"
# The same in a state.
RAISED = "An exception occurred in this state"
# How Salt reports that the node has none of our modules, or an older version.
OLD = re.compile(
    r"'(app|deploy|discovery)\.\w+' is not available|ERROR executing '[^']*': .*keyword arguments are not valid", re.S
)


@dataclass(frozen=True)
class Reply:
    """A node's answer: ``value`` is the function's result, or ``error`` the reason for none. ``silent``: no answer."""

    node: str
    value: Any = None
    error: str = ""
    seconds: float = 0.0
    silent: bool = False

    @property
    def ok(self) -> bool:
        """Whether the function returned a value."""
        return not self.error


class Fleet:
    """The minions of this master: a context manager that closes its connection at the end.

    :param opts: the master's options (``__opts__`` of a runner).
    """

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self.opts = opts

    def __enter__(self) -> Fleet:
        self._client = None
        return self

    def __exit__(self, *exc: object) -> None:
        if self._client is not None:
            self._client.destroy()

    def _open(self) -> Any:
        if self._client is None:
            config = salt.config.client_config(self.opts["conf_file"])
            self._client = salt.client.LocalClient(mopts={**PATIENCE, **config})
        return self._client

    def run(
        self,
        function: str,
        nodes: Collection[str],
        *args: Any,
        deadline: float = 60.0,
        on_reply: Callable[[Reply], None] = lambda reply: None,
        on_wait: Callable[[list[str]], None] | None = None,
        on_busy: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> dict[str, Reply]:
        """Run ``function`` on ``nodes`` in one job. Return ``{node: Reply}``, with a Reply for each node.

        :param deadline: seconds after which to give up nodes that still run it.
        :param on_reply: called with each Reply as it comes.
        :param on_wait: called every ten seconds with the names of the nodes that have not answered.
        :param on_busy: for a state run. A node that already applies states is asked again until it has finished, and
            ``on_busy`` is called once with its name. Salt's own queue is not used. In Salt 3008 a queued job ends
            without an answer, and the master takes the minion for silent.
        :raises Failed: the master accepts no job.
        """
        nodes = sorted(nodes)
        if not nodes:
            return {}
        began = time.monotonic()
        replies: dict[str, Reply] = {}
        busy: dict[str, float] = {}
        told: dict[str, float] = {}
        lost: set[str] = set()
        word = began + WORD
        with signals.held() as let_through:

            def between() -> None:
                let_through()
                nonlocal word
                if on_wait and time.monotonic() >= word:
                    on_wait([node for node in nodes if node not in replies])
                    word = time.monotonic() + WORD

            def send(some: Sequence[str]) -> Iterator[Mapping[str, Any]]:
                return self._answers(function, some, args, kwargs, began + deadline, between)

            for node, data in _until_all(send, nodes, busy, began + deadline):
                reply = _reply(node, data, time.monotonic() - began)
                if on_busy and _other_run(reply):
                    if node not in told:
                        on_busy(node)
                    told[node] = min(2 * told.get(node, RETRY / 2), RETRY_MOST)
                    busy[node] = time.monotonic() + told[node] * random.uniform(0.5, 1.5)
                elif reply.silent and node in told and node not in lost:
                    # The node has answered before. If state runs come at the same moment, Salt 3008 may lose one.
                    lost.add(node)
                    busy[node] = time.monotonic()
                elif node in nodes and node not in replies:
                    replies[node] = reply
                    on_reply(reply)
        for node in nodes:
            if node not in replies:
                replies[node] = _missing(node, function, time.monotonic() - began, deadline, node in told)
                on_reply(replies[node])
        return replies

    def aside(self, function: str, nodes: Collection[str], *args: Any) -> dict[str, Any]:
        """Run a small job beside another job, over its own connection. Return the answers that came.

        :returns: ``{node: value}``, without nodes that failed or did not answer within five seconds.
        """
        try:
            with Fleet(self.opts) as other:
                replies = other.run(function, nodes, *args, deadline=WORD_DEADLINE)
        except Failed:
            return {}
        return {node: reply.value for node, reply in replies.items() if reply.ok}

    def _answers(
        self,
        function: str,
        nodes: Sequence[str],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        until: float,
        between: Callable[[], None],
    ) -> Iterator[Mapping[str, Any]]:
        job = self._open().cmd_iter_no_block(
            nodes,
            function,
            list(args),
            kwarg=kwargs,
            tgt_type="list",
            timeout=int(self.opts.get("timeout", 5)),
            gather_job_timeout=int(self.opts.get("gather_job_timeout", 10)),
            expect_minions=True,
        )
        try:
            for answer in job:
                between()
                yield answer or {}
                if time.monotonic() > until:
                    return
        except (SaltClientError, SaltReqTimeoutError) as exc:
            raise Failed(f"the Salt master does not answer: is salt-master running? ({exc})") from exc
        finally:
            job.close()


def _until_all(
    send: Callable[[Sequence[str]], Iterator[Mapping[str, Any]]],
    nodes: Sequence[str],
    busy: dict[str, float],
    until: float,
) -> Iterator[tuple[str, Any]]:
    """Yield ``(node, data)`` of each answer to a job, and to its repetitions on ``busy`` nodes.

    :param send: ``send(nodes)`` sends the job and returns an iterator of its answers, some of them empty.
    :param busy: node -> time of the next job there, on the clock of ``time.monotonic``. The caller fills it.
    """
    jobs = [send(nodes)]
    while jobs or (busy and time.monotonic() < until):
        answers = [(job, next(job, None)) for job in jobs]
        jobs = [job for job, answer in answers if answer is not None]
        for _, answer in answers:
            yield from (answer or {}).items()
        due = sorted(node for node, when in busy.items() if when <= time.monotonic())
        if due:
            jobs.append(send(due))
            for node in due:
                del busy[node]
        if not any(answer for _, answer in answers):
            time.sleep(POLL)


def _other_run(reply: Reply) -> bool:
    """Return whether a node did not begin a state run because it already applies states."""
    value = reply.value
    return isinstance(value, list) and bool(value) and str(value[0]).startswith('The function "state.')


def _missing(node: str, function: str, waited: float, deadline: float, busy: bool) -> Reply:
    """Return the Reply of a node that did not answer in time."""
    late = waited >= deadline
    if busy and late:
        error = f"another state run was under way there for {deadline:g}s: see salt {node} state.running"
    else:
        # Salt sends no job if it has no key of any of the nodes.
        error = f"{function} did not end within {deadline:g}s" if late else UNKNOWN
    return Reply(node, None, error, waited, silent=not late)


def _reply(node: str, data: Mapping[str, Any], seconds: float) -> Reply:
    if data.get("failed") or "ret" not in data:
        return Reply(node, None, "does not answer: is its salt-minion running?", seconds, silent=True)
    value = data["ret"]
    if data.get("retcode", 0) == 0:
        return Reply(node, value, "", seconds)
    return Reply(node, value, _error(value) or f"failed, and did not say why (retcode {data['retcode']})", seconds)


def _unquoted(text: str) -> str:
    """Return Salt's message on an SLS that it cannot render, without the piece of the SLS that it shows."""
    return text.strip().splitlines()[0] if text.strip().startswith("Rendering SLS") else text


def _comment(state: Mapping[str, Any]) -> str:
    """Return the comment of a state that failed, without the traceback that Salt makes of an exception."""
    comment = str(state["comment"])
    return f"{RAISED}: {tracebacks.of_traceback(comment)}" if comment.startswith(RAISED) else comment


def _error(value: object) -> str:
    """Return the problem, from a module's exception or from the failed states of a state run."""
    if isinstance(value, dict):
        failed = [
            f"{str(state.get('__id__') or key).removeprefix('saltdeploy app ')}: {_comment(state)}"
            for key, state in value.items()
            if isinstance(state, dict) and state.get("result") is False
        ]
        root = [f for f in failed if "One or more requisite failed" not in f]
        return joined(root or failed)
    text = joined(map(_unquoted, map(str, value))) if isinstance(value, list) else str(value)
    if text.startswith(UNCAUGHT):
        return f"{tracebacks.of_traceback(text)} (a bug: the minion's log has the traceback)"
    old = OLD.match(text)
    for prefix in ("ERROR: ", "Error: "):
        text = text.removeprefix(prefix)
    text = (text.partition("': ")[2] if text.startswith("ERROR executing '") else text).strip()
    return f"{text.rstrip('.')}. Run: salt '*' saltutil.sync_all" if old else text
