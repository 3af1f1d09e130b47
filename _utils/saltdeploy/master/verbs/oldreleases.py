"""Installed releases that a verb removes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ...core import entries
from ...planning import planner
from ..remote import answers
from ..remote.jobs import Jobs

if TYPE_CHECKING:
    from ...planning.model import Observed
    from ..rollout.context import Identity
    from .appsite import Site


def beyond_kept(
    site: Site, observed: Observed, version: str, left: Collection[str] = ()
) -> Mapping[str, Sequence[str]]:
    """Return node -> versions beyond ``keep_releases``, without running releases and a rollback's target.

    :param version: the release that is deployed.
    :param left: releases that a rollback leaves.
    """
    good = entries.last_good(site.history(), version, left)
    stay = {version, *([good["record"]["version"]] if good and good["record"] else ())}
    return planner.prunable(observed, site.app.strategy.keep_releases, stay)


def remove(jobs: Jobs, app: str, releases: Mapping[str, Sequence[str]], identity: Identity) -> None:
    """Remove ``releases`` of ``app``, node -> versions. Raises Failed."""
    jobs.run(
        "prune",
        "deploy.prune",
        releases,
        app,
        releases,
        deployment=identity.id,
        told=lambda gone: f"removed {', '.join(gone)}",
        answer=answers.removed(releases),
    )
