"""What is asked and answered, for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.predictions.asked import MOST

Symbol = Annotated[str, Field(pattern="^[A-Z]{1,5}$")]


class Freshness(BaseModel):
    """How old a prediction is, and where it was found."""

    age_seconds: float | None = Field(description="since it was predicted; null if it says no time")
    source: Literal["cache", "database"]
    stale: bool | None = Field(description="whether it is older than predictions should be")


class Prediction(BaseModel):
    """A prediction, with whatever else is known of it."""

    model_config = ConfigDict(extra="allow")

    symbol: Symbol
    predicted_price: float
    predicted_at: str | None = Field(
        description="ISO 8601, UTC", json_schema_extra={"format": "date-time"}
    )
    freshness: Freshness
    features: dict[str, Any] | None = Field(
        None, description="if they were asked for; null where there are none"
    )


class Predictions(BaseModel):
    """Several of them."""

    predictions: dict[str, Prediction] = Field(
        description="by symbol, in the order of the question"
    )
    missing: list[Symbol] = Field(description="those without a prediction")
    unavailable: list[Symbol] | None = Field(
        None, description="those that cannot be looked up at present; left out where there are none"
    )


class OneQuery(BaseModel):
    """What may be asked of one."""

    include_features: bool = Field(False, description="whether to tell features:{symbol}, too")


class ManyQuery(OneQuery):
    """What may be asked of several."""

    symbols: str = Field(
        description=f"separated by commas, at most {MOST}",
        examples=["AAPL,MSFT"],
        pattern=f"^ *[A-Za-z]{{1,5}} *(, *[A-Za-z]{{1,5}} *){{0,{MOST - 1}}}$",
    )
