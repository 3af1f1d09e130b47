"""The verbs of the runner, a module for each: its function ``run`` is the algorithm.

``run`` takes a session.Session and the arguments of the runner, and returns the result as plain data. An exception from
it means that nothing was changed.
"""

from . import (
    abort,
    approve,
    check,
    deploy,
    evacuate,
    execute,
    history,
    hooks,
    logs,
    promote,
    prune,
    publish,
    reload,
    remove,
    request,
    restart,
    rollback,
    scale,
    several,
    status,
    test,
    unlock,
    watch,
    withdraw,
)

__all__ = [
    "abort",
    "approve",
    "check",
    "deploy",
    "evacuate",
    "execute",
    "history",
    "hooks",
    "logs",
    "promote",
    "prune",
    "publish",
    "reload",
    "remove",
    "request",
    "restart",
    "rollback",
    "scale",
    "several",
    "status",
    "test",
    "unlock",
    "watch",
    "withdraw",
]
