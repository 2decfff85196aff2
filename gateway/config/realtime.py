"""The settings of live updates."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

from gateway import units
from gateway.config import checks
from gateway.config.auth import Auth, Way
from gateway.config.edges import switch
from gateway.config.kinds import LEFT_OUT, Count, PositiveBytes, PositiveCount, Seconds, Table
from gateway.config.ratelimits import Rate
from gateway.config.tokens import Scopes

Path = Annotated[str, AfterValidator(checks.match_path)]
SUBJECT: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
STREAM: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_A_PERIOD: Final = 10000  # times that are remembered of each client, 8 bytes each at least


def _few(rate: units.Rate | None) -> units.Rate | None:
    if rate is not None and rate.count > MOST_A_PERIOD:
        raise ValueError(f"at most {MOST_A_PERIOD}, or unlimited: each client's are remembered")
    return rate


def _subject(value: str) -> str:
    if SUBJECT.fullmatch(value) is None:
        raise ValueError("a subject is words of letters, digits, _ and -, with dots between them")
    return value


def _stream(value: str) -> str:
    if STREAM.fullmatch(value) is None:
        raise ValueError("a stream's name is 1 to 64 letters, digits, _ and -")
    return value


class Realtime(Table):
    """Live updates from the bus, over WebSocket and as Server-Sent Events."""

    path: Path = Field("/ws/predictions", description="of the WebSocket")
    stream: Path = Field("/api/stream/predictions", description="of the Server-Sent Events")
    subject: Annotated[str, AfterValidator(_subject)] = Field(
        "event.prediction.updated", description="of the events on the bus"
    )
    jetstream: Annotated[Annotated[str, AfterValidator(_stream)] | None, LEFT_OUT] = Field(
        None,
        description="a stream of NATS that keeps the events, made if it is missing; then a gateway "
        "that starts knows the last ones, and offsets are the same on all gateways",
    )
    history: Count = Field(10000, description="last events that who comes back can catch up on")
    auth: Way | None = Field(
        None,
        description="what clients have to bring; in `local` nothing if left out, elsewhere it has "
        "to be said",
    )
    scopes: Scopes = Field((), description="that they have to have, all of them")
    connections: Count = Field(20000, description="of one worker; 0 = no limit")
    connections_per_address: Count = Field(
        0, description="of one worker from one address; 0 = no limit"
    )
    connections_per_key: Count = Field(
        0, description="of one worker with the same key, or by the same user; 0 = no limit"
    )
    max_message: PositiveBytes = Field(65536, description="of a client's message")
    max_symbols: PositiveCount = Field(100, description="that one connection subscribes to")
    wildcard: bool = Field(False, description="whether `*` subscribes to all symbols")
    ping_interval: Seconds = Field(
        30, description="between pings; who said nothing from one to the next is cut; 0 = none"
    )
    idle_timeout: Seconds = Field(
        300,
        description="after which who subscribes to nothing and says nothing is closed; 0 = never",
    )
    message_rate: Rate = Field(
        "10/second", validate_default=True, description="of a client's messages"
    )
    update_rate: Annotated[units.Rate | None, PlainValidator(units.quota), AfterValidator(_few)] = (
        Field("10/second", validate_default=True, description="to a client, or `unlimited`")
    )
    buffer: PositiveCount = Field(
        1000, description="updates that wait for a client; then its oldest are dropped"
    )
    buffer_bytes: PositiveBytes = Field(262144, description="of updates that wait for a client")
    conflate: bool = Field(
        False, description="whether of what waits only the newest of each symbol is kept"
    )
    deflate: bool = Field(
        False, description="whether updates are compressed, once for all clients that can read that"
    )

    @field_validator("stream")
    @classmethod
    def _another(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("path"):
            raise ValueError("is the path of the WebSocket already")
        return value

    def check(self, environment: str, auth: Auth, bus: bool) -> None:
        """Raises ValueError for what only `local` forgives, and what clients cannot bring."""
        if self.auth is None and environment != "local":
            raise ValueError("needs auth, and be it none, where environment is not local")
        lacking = auth.lacks(self.way, self.scopes)
        if lacking is not None:
            raise ValueError(f"auth: {lacking}")
        if self.jetstream is not None and not bus:
            raise ValueError("jetstream needs stores.nats")

    @property
    def way(self) -> Way:
        return self.auth or "none"


OptionalRealtime = Annotated[Realtime | None, BeforeValidator(switch)]
