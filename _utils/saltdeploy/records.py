"""The record of an app in an environment: what runs where now, and what was done before.

Keys under ``deploy/<environment>/<app>/``: ``lock``, ``current``, ``history/<deployment>``.
"""

from __future__ import annotations


def prefix(environment, app):
    """Return the key prefix of an app's record."""
    return f"deploy/{environment}/{app}/"


def lock_key(prefix):
    """Return the key of the deployment lock."""
    return f"{prefix}lock"


def current_key(prefix):
    """Return the key of what runs now: ``{"version", "deployment", "time", "nodes": {node: [id, …]}}``."""
    return f"{prefix}current"


def history_key(prefix, deployment=""):
    """Return the key of one deployment's history, or the prefix of all."""
    return f"{prefix}history/{deployment}"
