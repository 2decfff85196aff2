"""A prediction: read from JSON or from a hash of Redis, and shown as JSON.

Whoever writes predictions does it in their own way, so names and forms of times are taken as they
come; what is shown is always the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final
from zlib import crc32

import orjson

Kept = bytes | Mapping[bytes, bytes]
"""JSON, or a hash of Redis."""

TIMES: Final = ("predicted_at", "prediction_time", "timestamp", "time", "updated_at", "created_at")
"""Names that say when it was predicted; the first that is there counts."""

SYMBOLS: Final = ("symbol", "ticker")
PRICE: Final = "predicted_price"

# Fields of a hash that are text, and be they digits: `1.10` is no number of a version.
_TEXTS: Final = ("symbol", "ticker", "id", "version", "name")
_TEXT_ENDS: Final = ("_id", "_version", "_name")
# Unix times: seconds up to the year 5138, and what is larger in ms, µs or ns.
_UNITS: Final = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (float("inf"), 1e9))


class Malformed(Exception):
    """What was found is no prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """`at` is when it was predicted, in s since 1970, if it says so.

    `text` is its JSON without the last brace, `etag` a weak entity tag of that time, without the
    quote at its end: what else an answer has may be added to it.
    """

    fields: Mapping[str, Any]
    at: float | None
    text: bytes
    etag: bytes


def read(symbol: str, kept: Kept) -> Prediction:
    """What was kept for this symbol. Raises `Malformed`."""
    found = table_of(kept)
    if found is None:
        raise Malformed
    price = _price(found.get(PRICE))
    named = next((name for name in TIMES if found.get(name) is not None), None)
    at = None if named is None else moment(found[named])
    fields: dict[str, Any] = {"symbol": symbol, PRICE: price}
    fields.update((name, value) for name, value in found.items() if name not in _OURS)
    fields["predicted_at"] = None if at is None else _iso(at)
    text = _json(fields)[:-1]
    mark = b"%x" % crc32(text) if at is None else b"%x" % round(at * 1_000_000)
    return Prediction(fields, at, text, b'W/"' + mark)


_OURS: Final = frozenset((*SYMBOLS, PRICE, "predicted_at", "freshness"))


def table_of(kept: Kept | None) -> dict[str, Any] | None:
    """The JSON object or hash; None for what is neither."""
    if kept is None:
        return None
    try:
        if isinstance(kept, bytes):
            found = orjson.loads(kept)
            return found if isinstance(found, dict) else None
        return {name.decode(): _value(name.decode(), value) for name, value in kept.items()}
    except ValueError:  # no JSON, or no UTF-8
        return None


def _json(table: Mapping[str, Any]) -> bytes:
    """Raises `Malformed` for what is nested deeper than orjson writes."""
    try:
        return orjson.dumps(table)
    except TypeError:
        raise Malformed from None


def json_of(kept: Kept | None) -> bytes:
    """The JSON object or hash as JSON; nothing for what is neither."""
    found = table_of(kept)
    try:
        return b"" if found is None else _json(found)
    except Malformed:
        return b""


def _value(name: str, value: bytes) -> Any:
    """A hash's field: JSON if it is that, else text."""
    if name in _TEXTS or name.endswith(_TEXT_ENDS):
        return value.decode()
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value.decode()


def _price(value: object) -> int | float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Malformed from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Malformed
    return value


def moment(value: object) -> float | None:
    """A time in s since 1970: ISO 8601, UTC if it says no zone, or a number of s, ms, µs or ns."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _from_iso(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    unit = next(unit for most, unit in _UNITS if abs(value) < most)
    try:
        return datetime.fromtimestamp(value / unit, UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _from_iso(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Found:
    """A prediction, where it was found, and its features if they were asked for and are there.

    `features` are JSON.
    """

    prediction: Prediction
    source: bytes  # "cache" or "database"
    features: bytes = b""


def shown(found: Found, now: float, stale_after: float, with_features: bool = False) -> bytes:
    """As JSON; `now` in s since 1970, `stale_after` in s."""
    prediction = found.prediction
    if prediction.at is None:
        fresh = b'null,"source":"%b","stale":null' % found.source
    else:
        age = max(0.0, now - prediction.at)
        stale = b"true" if age > stale_after else b"false"
        fresh = b'%.3f,"source":"%b","stale":%b' % (age, found.source, stale)
    if not with_features:
        return b'%b,"freshness":{"age_seconds":%b}}' % (prediction.text, fresh)
    text = prediction.text
    if "features" in prediction.fields:  # the prediction's own give way to what is asked for
        others = {name: v for name, v in prediction.fields.items() if name != "features"}
        text = orjson.dumps(others)[:-1]
    return b'%b,"freshness":{"age_seconds":%b},"features":%b}' % (
        text,
        fresh,
        found.features or b"null",
    )


def tag(found: Found) -> bytes:
    """Its entity tag: weak, as its age is told with each answer (RFC 9110, 8.8.1)."""
    if not found.features:
        return found.prediction.etag + b'"'
    return b'%b-%x"' % (found.prediction.etag, crc32(found.features))
