"""The wait of a state until something else is ready."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..core import names

POLL = 0.5


def wait(ret: Mapping[str, Any], what: str, problem: Callable[[], str], deadline: object, test: bool) -> dict[str, Any]:
    """Wait, and return the result of the state.

    :param ret: its result if nothing has to be waited for any more.
    :param what: what it waits for, for messages.
    :param problem: returns why that is not ready, or an empty text.
    :param deadline: seconds to wait.
    :param test: True looks once, and does not wait.
    :raises SaltInvocationError: ``deadline`` cannot be used.
    """
    until = time.monotonic() + names.deadline(deadline)
    while found := problem():
        if test:
            return {**ret, "result": None, "comment": f"Would wait up to {deadline}s for {what}: {found}"}
        if time.monotonic() > until:
            return {**ret, "result": False, "comment": f"not within {deadline}s: {found}"}
        time.sleep(POLL)
    return dict(ret)
