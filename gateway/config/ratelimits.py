"""The settings of rate limits: a route's, and the tiers'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway import units
from gateway.config.kinds import Name, PositiveCount, Table

LONGEST_REST = 100 * 365 * 86400.0  # s until a burst is there again; beyond, somebody mistyped

TIERS: Final[Mapping[str, Any]] = {
    "anonymous": "10/hour",
    "free": "100/hour",
    "pro": "1000/hour",
    "enterprise": "unlimited",
}


def _all_tiers(value: object) -> object:
    """Whoever changes one tier keeps the others."""
    return {**TIERS, **value} if isinstance(value, Mapping) else value


Rate = Annotated[units.Rate, PlainValidator(units.rate)]
Tiers = Annotated[
    Mapping[Name, Annotated[units.Rate | None, PlainValidator(units.quota)]],
    BeforeValidator(_all_tiers),
]


class RateLimit(Table):
    """How often a client may ask. A bare string is its `rate`."""

    rate: Rate | None = Field(
        None, description="such as `60/minute`; with `by: tier`, for tiers that have none"
    )
    burst: PositiveCount | None = Field(
        None, description="requests at once after a quiet time; as many as the rate's if left out"
    )
    by: Literal["ip", "key", "tier"] = Field(
        "ip",
        description="whom it counts for: the address (of IPv6 the /64); the key or user, without "
        "one the address; or as `key`, but at the rate that the tier has in `tiers`",
    )
    group: Name | None = Field(
        None, description="of routes that are counted together, at the same rate; this one alone"
    )
    mode: Literal["enforce", "observe"] = Field(
        "enforce", description="whether too many are refused, or let in and counted"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return {"rate": value} if isinstance(value, str) else value

    @field_validator("burst")
    @classmethod
    def _of_a_rate(cls, value: int | None, info: ValidationInfo) -> int | None:
        rate = info.data.get("rate")
        if value is None or "rate" not in info.data:
            return value
        if rate is None:
            raise ValueError("needs a rate")
        if value * rate.period / rate.count > LONGEST_REST:
            raise ValueError("is more than the rate gives in 100 years")
        return value

    @field_validator("by")
    @classmethod
    def _with_a_rate(cls, value: str, info: ValidationInfo) -> str:
        if value != "tier" and info.data.get("rate", value) is None:
            raise ValueError("needs a rate; only by: tier has its own")
        return value

    @property
    def own(self) -> units.Rate | None:
        """The rate and its burst."""
        rate = self.rate
        return None if rate is None else units.Rate(rate.count, rate.period, self.burst or 0)
