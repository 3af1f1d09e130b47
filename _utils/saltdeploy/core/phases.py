"""The phases of a deployment at which hooks run. Pure."""

from __future__ import annotations

# A hook runs before or after each step, in this order. Each phase with its step.
STEPS = {f"{when}_{step}": step for step in ("install", "start", "publish", "retire") for when in ("before", "after")}
PHASES = tuple(STEPS)
