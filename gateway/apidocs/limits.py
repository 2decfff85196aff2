"""How often a client may ask, in words and as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.config.ratelimits import RateLimit
from gateway.units import Rate

WHOM: Final = {"ip": "address", "key": "key or user", "tier": "key or user"}


def told(limit: RateLimit, tiers: Mapping[str, Rate | None]) -> str:
    """A sentence for people."""
    whom = WHOM[limit.by]
    if limit.by == "tier":
        rates = ", ".join(f"{name} {rate or 'unlimited'}" for name, rate in tiers.items())
        return f"By {whom}, as often as its tier may: {rates}."
    shared = f", with all of the group {limit.group}" if limit.group else ""
    return f"At most {limit.own} by {whom}{shared}."


def data(limit: RateLimit, tiers: Mapping[str, Rate | None]) -> dict[str, Any]:
    """The same for programs."""
    made: dict[str, Any] = {"by": limit.by, "mode": limit.mode}
    if limit.own is not None:
        made |= {"rate": str(limit.own), "burst": limit.own.burst}
    if limit.by == "tier":
        made["tiers"] = {name: str(rate or "unlimited") for name, rate in tiers.items()}
    if limit.group:
        made["group"] = limit.group
    return made
