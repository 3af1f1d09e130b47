"""The phases of a deployment at which hooks run. Pure."""

from __future__ import annotations

# A hook runs before or after each of these steps, in this order.
PHASES = tuple(f"{when}_{what}" for what in ("install", "start", "publish", "retire") for when in ("before", "after"))
