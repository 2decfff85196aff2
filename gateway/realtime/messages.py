"""The messages of the realtime protocol as models: what its AsyncAPI document is made from.

A session does not pass messages through these: it reads and writes JSON by itself, and the tests
hold what it sends against them. So they are imported when somebody asks for the document, and
not before.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

Symbol = Annotated[str, Field(pattern="^[A-Z]{1,5}$")]
Symbols = Annotated[tuple[Symbol, ...], Field(min_length=1)]
Offset = Annotated[str, Field(pattern="^[0-9a-z]{1,32}-[0-9]{1,19}$")]
ErrorCode = Literal[
    "bad_json",
    "unknown_action",
    "bad_symbol",
    "too_many_symbols",
    "too_many_messages",
    "bad_offset",
]

Example = tuple[str, dict[str, Any]]
"""What it shows, and a message that does."""


class Message(BaseModel):
    """What all messages have in common: nothing stands in one that is not told of here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    examples: ClassVar[tuple[Example, ...]] = ()


# ------------------------------------------------------------------------- what a client says


class Request(Message):
    """What a client says. Names that are not told of are ignored."""

    model_config = ConfigDict(extra="ignore")


class Subscribe(Request):
    """Asks for the updates of these symbols, beside those that were asked for before."""

    action: Literal["subscribe"]
    symbols: Symbols
    since: Offset | SkipJsonSchema[None] = None
    """The offset of the last update that was received: what came after it is sent first."""
    conflate: bool | SkipJsonSchema[None] = None
    """Whether of updates that have to wait only the newest of each symbol is kept."""

    examples: ClassVar[tuple[Example, ...]] = (
        ("two symbols", {"action": "subscribe", "symbols": ["AAPL", "MSFT"]}),
        (
            "come back",
            {"action": "subscribe", "symbols": ["AAPL"], "since": "6f1d2c9ab04e7788-41"},
        ),
        ("only the newest", {"action": "subscribe", "symbols": ["AAPL"], "conflate": True}),
    )


class Unsubscribe(Request):
    """Asks for no more updates of these symbols; those it was not subscribed to do not matter."""

    action: Literal["unsubscribe"]
    symbols: Symbols

    examples: ClassVar[tuple[Example, ...]] = (
        ("one symbol", {"action": "unsubscribe", "symbols": ["MSFT"]}),
    )


class Ping(Request):
    """Asks for a sign of life, for clients that cannot send a WebSocket's own ping: browsers."""

    action: Literal["ping"]

    examples: ClassVar[tuple[Example, ...]] = (("ping", {"action": "ping"}),)


# -------------------------------------------------------------------------- what is answered


class Welcome(Message):
    """The first message on a connection, once it is known who asks."""

    type: Literal["welcome"]
    connection_id: str
    """Names this connection in the gateway's log."""

    examples: ClassVar[tuple[Example, ...]] = (
        ("welcome", {"type": "welcome", "connection_id": "0b8e7c5d3f2a4961"}),
    )


class Subscribed(Message):
    """The symbols of the request; their updates follow, what was missed first."""

    type: Literal["subscribed"]
    symbols: tuple[Symbol, ...]

    examples: ClassVar[tuple[Example, ...]] = (
        ("two symbols", {"type": "subscribed", "symbols": ["AAPL", "MSFT"]}),
    )


class Unsubscribed(Message):
    """The symbols of the request; no update of them follows."""

    type: Literal["unsubscribed"]
    symbols: tuple[Symbol, ...]

    examples: ClassVar[tuple[Example, ...]] = (
        ("one symbol", {"type": "unsubscribed", "symbols": ["MSFT"]}),
    )


class Pong(Message):
    """The answer to a ping."""

    type: Literal["pong"]

    examples: ClassVar[tuple[Example, ...]] = (("pong", {"type": "pong"}),)


class Error(Message):
    """A message that was not obeyed, and why. The connection stays open."""

    type: Literal["error"]
    error: ErrorCode
    message: str
    """For people."""

    examples: ClassVar[tuple[Example, ...]] = (
        (
            "bad symbol",
            {"type": "error", "error": "bad_symbol", "message": "a symbol is 1 to 5 letters A-Z"},
        ),
    )


class Warn(Message):
    """Updates that this client did not get, as more came than it may have or did take."""

    model_config = ConfigDict(title="Warning")

    type: Literal["warning"]
    dropped: Annotated[int, Field(ge=1)]
    """How many, since the last warning."""

    examples: ClassVar[tuple[Example, ...]] = (("seven lost", {"type": "warning", "dropped": 7}),)


class Refetch(Message):
    """What was missed of these symbols cannot be had any more: ask for their state elsewhere.

    What comes from now on is sent.
    """

    type: Literal["refetch"]
    symbols: tuple[Symbol, ...]

    examples: ClassVar[tuple[Example, ...]] = (
        ("too long ago", {"type": "refetch", "symbols": ["AAPL"]}),
    )


class PredictionUpdate(Message):
    """A new prediction for a symbol, with whatever else its event said."""

    model_config = ConfigDict(extra="allow")

    type: Literal["prediction_update"]
    symbol: Symbol
    predicted_price: float
    offset: Offset
    """Its place among all updates, for `since` and `Last-Event-ID`; not to be taken apart."""

    examples: ClassVar[tuple[Example, ...]] = (
        (
            "update",
            {
                "type": "prediction_update",
                "symbol": "AAPL",
                "predicted_price": 231.07,
                "confidence": 0.87,
                "offset": "6f1d2c9ab04e7788-42",
            },
        ),
    )


FROM_CLIENTS: Final[tuple[type[Message], ...]] = (Subscribe, Unsubscribe, Ping)
TO_CLIENTS: Final[tuple[type[Message], ...]] = (
    Welcome,
    Subscribed,
    Unsubscribed,
    Pong,
    Error,
    Warn,
    Refetch,
    PredictionUpdate,
)
