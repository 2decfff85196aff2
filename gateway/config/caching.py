"""The settings of the cache: a route's, and what is shared by all routes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.config.edges import switch
from gateway.config.kinds import Bytes, PositiveBytes, Seconds, Table


class Cache(Table):
    """Keeps answers that may be shared (RFC 9111). What they say of themselves is obeyed."""

    ttl: Seconds = Field(
        0, description="given to cacheable answers that state no lifetime of their own; 0 = a "
        "tenth of the time since they changed, if they say that"
    )  # fmt: skip
    set_cookie: bool = Field(
        False, description="whether answers that set a cookie are kept, if they state a lifetime"
    )
    stale_if_lost: Seconds = Field(
        3600, description="for which a stale answer is better than none, if its origin is lost"
    )


class CacheStore(Table):
    """Where answers are kept: in front each worker's own, behind them the host's, or Redis."""

    front: Bytes = Field(33554432, description="of answers that one worker has in front")
    shared: PositiveBytes = Field(
        67108864, description="that this host's workers share; not with Redis, nor on a reload"
    )
    largest: Bytes = Field(
        1048576, description="largest body that is kept; what is larger streams past"
    )


OptionalCache = Annotated[Cache | None, BeforeValidator(switch)]
