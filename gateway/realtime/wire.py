"""What is said on a live connection, as bytes: no input or output.

An event comes from the bus in one of two envelopes and leaves as an `Update`, which is encoded
once for all who hear it. Clients talk JSON; what they may say is read here, too.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

SYMBOL: Final = re.compile(r"[A-Z]{1,5}")
EVERYTHING: Final = "*"
OFFSET: Final = re.compile(r"([0-9a-z]{1,32})-([0-9]{1,19})")
LARGEST_EVENT: Final = 65536  # bytes
OURS: Final = frozenset(("type", "symbol", "ticker", "predicted_price", "offset", "payload"))
DEFLATED_FROM: Final = 96  # bytes; what is smaller gets no smaller

# RFC 6455, 5.2: a final frame's first byte. RFC 7692, 6: the bit that says it is compressed.
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
COMPRESSED: Final = 0x40


EXPLAINED: Final = {
    "too_large": f"at most {LARGEST_EVENT} bytes",
    "no_json": "expected JSON",
    "no_object": "expected an object, and so is its payload, if there is one",
    "bad_symbol": "symbol (in a payload: ticker) is one to five letters, A to Z",
    "bad_price": "predicted_price is a number",
    "too_deep": "objects and lists are nested in one another too often",
}


class BadEvent(ValueError):
    """What came from the bus is no event; `kind` is one of `EXPLAINED`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Refused(ValueError):
    """What a client asked cannot be done; `code` and the text are what it is told."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Offset(NamedTuple):
    """A place among the events: their numbering, and the number in it."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


# ------------------------------------------------------------------------------------- frames


def frame(payload: bytes, first: int = TEXT) -> bytes:
    """One whole frame of a server's (RFC 6455, 5.2: unmasked)."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (first, size, payload)
    if size < 65536:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8), payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """RFC 6455, 5.5.1; a control frame takes 125 bytes."""
    return frame((code.to_bytes(2) + reason.encode())[:125], CLOSE)


def deflated(payload: bytes) -> bytes:
    """A text frame compressed by itself (RFC 7692, 7.2.1), for every client that can read it."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(packed[:-4], TEXT | COMPRESSED)


def message(kind: str, **fields: object) -> bytes:
    """One of the gateway's own messages, as JSON."""
    return orjson.dumps({"type": kind, **fields})


def event(kind: str, data: bytes, offset: str = "") -> bytes:
    """A Server-Sent Event (HTML, 9.2.6)."""
    name = b"id: %b\n" % offset.encode() if offset else b""
    return b"%bevent: %b\ndata: %b\n\n" % (name, kind.encode(), data)


# ------------------------------------------------------------------------------------- events


class Update:
    """One event, ready to be sent to any number of clients."""

    __slots__ = ("_deflated", "_event", "frame", "number", "offset", "symbol", "text")

    KIND: Final = "prediction_update"

    def __init__(self, symbol: str, fields: Mapping[str, Any], offset: Offset) -> None:
        """Raises `BadEvent` for what is nested deeper than can be written."""
        self.symbol = symbol
        self.number = offset.number
        self.offset = str(offset)
        try:
            self.text = orjson.dumps(
                {"type": self.KIND, "symbol": symbol, **fields, "offset": self.offset}
            )
        except orjson.JSONEncodeError:
            raise BadEvent("too_deep") from None
        self.frame = frame(self.text)
        self._deflated = b""
        self._event = b""

    @property
    def size(self) -> int:
        """What it weighs while it waits for a client, in bytes."""
        return len(self.frame)

    @property
    def deflated(self) -> bytes:
        if not self._deflated:
            small = len(self.text) < DEFLATED_FROM
            self._deflated = self.frame if small else deflated(self.text)
        return self._deflated

    @property
    def event(self) -> bytes:
        if not self._event:
            self._event = event(self.KIND, self.text, self.offset)
        return self._event


def read_event(data: bytes) -> tuple[str, dict[str, Any]]:
    """An event's symbol and the other fields that go with it. Raises `BadEvent`.

    Flat, `{"symbol", "predicted_price", …}`, or in an envelope whose `payload` has `ticker`,
    `predicted_price` and more; of the envelope itself, clients are told the time.
    """
    if len(data) > LARGEST_EVENT:
        raise BadEvent("too_large")
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise BadEvent("no_json") from None
    if not isinstance(said, dict):
        raise BadEvent("no_object")
    payload = said.get("payload", said)
    if not isinstance(payload, dict):
        raise BadEvent("no_object")
    symbol = payload.get("symbol") if payload is said else payload.get("ticker")
    if not isinstance(symbol, str) or SYMBOL.fullmatch(symbol) is None:
        raise BadEvent("bad_symbol")
    price = payload.get("predicted_price")
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
        raise BadEvent("bad_price")
    fields = {"predicted_price": price}
    if payload is not said and "timestamp" in said:
        fields["timestamp"] = said["timestamp"]
    fields |= {name: value for name, value in payload.items() if name not in OURS}
    return symbol, fields


# ------------------------------------------------------------------------- what clients may say


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`since`: from behind this offset on, as far as it is still known."""

    symbols: tuple[str, ...]
    since: Offset | None = None
    conflate: bool | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    pass


Action = Subscribe | Unsubscribe | Ping


def read_action(text: str | bytes, most: int, wildcard: bool) -> Action:
    """What a client wants; of `most` symbols at once. Raises `Refused`."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Refused("bad_json", "the message is no JSON") from None
    if not isinstance(said, dict):
        raise Refused("bad_json", "the message is no JSON object")
    action = said.get("action")
    if action == "ping":
        return Ping()
    if action == "unsubscribe":
        return Unsubscribe(read_symbols(said.get("symbols"), most, wildcard))
    if action != "subscribe":
        raise Refused("unknown_action", "action is one of subscribe, unsubscribe, ping")
    since, conflate = said.get("since"), said.get("conflate")
    if conflate is not None and not isinstance(conflate, bool):
        raise Refused("bad_json", "conflate is true or false")
    return Subscribe(
        read_symbols(said.get("symbols"), most, wildcard),
        None if since is None else read_offset(since),
        conflate,
    )


def read_symbols(named: object, most: int, wildcard: bool) -> tuple[str, ...]:
    """A list of symbols, each once. Raises `Refused`."""
    if not isinstance(named, list) or not named:
        raise Refused("bad_symbol", "symbols is a list that names at least one")
    if len(named) > most:
        raise Refused("too_many_symbols", f"at most {most} symbols")
    for symbol in named:
        if isinstance(symbol, str) and SYMBOL.fullmatch(symbol) is not None:
            continue
        if symbol == EVERYTHING and wildcard:
            continue
        raise Refused("bad_symbol", "a symbol is one to five letters, A to Z")
    return tuple(dict.fromkeys(named))


def read_offset(said: object) -> Offset:
    """Raises `Refused`."""
    match = OFFSET.fullmatch(said) if isinstance(said, str) else None
    if match is None:
        raise Refused("bad_offset", "since is the offset of an update")
    return Offset(match[1], int(match[2]))
