"""The functions that ``all.sls`` and ``own.sls`` of a pillar call. People have copies of these files: keep the name."""

from __future__ import annotations

from .environment.pillar import all_environments, own_environment

__all__ = ["all_environments", "own_environment"]
