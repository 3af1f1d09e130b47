"""What the execution modules have in common, made of what Salt's loader gives each of them."""

from __future__ import annotations

from functools import partial

from .errors import Failed
from .lifecycle import Lifecycle


def lifecycle(opts, pillar, functions):
    """Return the Lifecycle of this node.

    :param opts: the minion's options; ``pillar``: its pillar; ``functions``: ``__salt__``.
    """
    settings = functions["config.get"]("saltdeploy", {}) or {}
    return Lifecycle(opts["id"], pillar, settings, partial(_fetch, functions), partial(_render, functions))


def mine(opts, value):
    """Return what of ``value`` is for this node: one job serves many, by a mapping of minion id to value."""
    return value.get(opts["id"], []) if isinstance(value, dict) else value


def _fetch(functions, url, path):
    if not functions["cp.get_file"](url, str(path)):
        raise Failed(f"{url}: is not on the master: see its file_roots.")


def _render(functions, template, path, context):
    if not functions["cp.get_template"](template, str(path), template="jinja", **context):
        raise Failed(f"{template}: is not on the master, or cannot be rendered.")
