"""What a request for a list asks: filters, an order, and which part of the rows.

`?field=value` and `?field__OPERATOR=value` are filters, all of which a row has to pass:

    eq, ne           the same, another; null is neither
    gt, ge, lt, le   (`gte` and `lte`, too) in the database's order
    in               one of `a,b,c`
    contains         a text that holds this one, in these letters
    null             `true` or `false`: whether there is none
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
from pydantic import ValidationError

from gateway.bodies import flaw
from gateway.errors import ValidationFailed
from gateway.tables.schema import Column, Schema
from gateway.tables.values import from_text

OPERATORS: Final = {
    "eq": "=",
    "ne": "<>",
    "gt": ">",
    "ge": ">=",
    "gte": ">=",
    "lt": "<",
    "le": "<=",
    "lte": "<=",
    "in": "in",
    "contains": "contains",
    "null": "null",
}
RESERVED: Final = ("limit", "offset", "cursor", "sort")
MOST_FILTERS: Final = 32
MOST_LISTED: Final = 100  # values of one `in`
MOST_SORTED: Final = 8  # columns
FURTHEST: Final = (1 << 31) - 1  # an offset
LONGEST_CURSOR: Final = 4096  # bytes


@dataclass(frozen=True, slots=True)
class Filter:
    """`operator` is one of the values of OPERATORS."""

    column: Column
    operator: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """One column to sort by; null comes last in both directions."""

    column: Column
    down: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """One part of the rows; it begins behind `after`, which has one mark for each order."""

    filters: tuple[Filter, ...]
    orders: tuple[Order, ...]
    limit: int
    offset: int = 0
    after: tuple[Any, ...] | None = None

    @property
    def digest(self) -> str:
        """Which list this is a part of: a cursor is good for no other."""
        text = repr([(f.column.name, f.operator, f.values) for f in self.filters])
        text += repr([(o.column.name, o.down) for o in self.orders])
        return sha256(text.encode()).hexdigest()[:16]

    def cursor(self, marks: Sequence[Any]) -> str:
        """The place behind a row that has those marks."""
        data = orjson.dumps([self.digest, *marks], default=str)
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Flaws:
    """What is wrong with a query, all of it."""

    def __init__(self) -> None:
        self.found: list[Mapping[str, object]] = []

    def add(self, name: str, message: str) -> None:
        self.found.append(flaw((name,), message, "query"))

    def raised(self) -> None:
        """Raises `ValidationFailed` if anything is."""
        if self.found:
            raise ValidationFailed(details=self.found)


def listing_of(
    schema: Schema, query: Iterable[tuple[str, str]], *, size: int, most: int
) -> Listing:
    """What those parameters ask for; `size` rows unless they say how many, up to `most`.

    Raises `ValidationFailed`.
    """
    flaws = Flaws()
    words: dict[str, str] = {}
    filters: list[Filter] = []
    for name, text in query:
        if name in RESERVED:
            if name in words:
                flaws.add(name, "stands there twice")
            words[name] = text
        elif len(filters) == MOST_FILTERS:
            flaws.add(name, f"is one filter more than {MOST_FILTERS}")
            break
        elif (made := _filter(schema, name, text, flaws)) is not None:
            filters.append(made)
    limit = _count(words, "limit", size, 1, most, flaws)
    offset = _count(words, "offset", 0, 0, FURTHEST, flaws)
    orders = _orders(schema, words.get("sort", ""), flaws)
    if "offset" in words and "cursor" in words:
        flaws.add("cursor", "goes without an offset")
    flaws.raised()
    whole = Listing(tuple(filters), orders, limit, offset)
    if "cursor" not in words:
        return whole
    marks = _marks(whole, words["cursor"])
    if marks is None or schema.key is None:
        flaws.add("cursor", "is none of this list")
        flaws.raised()
    return Listing(whole.filters, whole.orders, limit, 0, marks)


def _count(
    words: Mapping[str, str], name: str, default: int, least: int, most: int, flaws: Flaws
) -> int:
    text = words.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    flaws.add(name, f"expected a whole number, {least} to {most}")
    return default


def _orders(schema: Schema, text: str, flaws: Flaws) -> tuple[Order, ...]:
    """The row's name goes last, so that no two rows have the same place."""
    orders: list[Order] = []
    for word in text.split(",") if text else ():
        column = schema.column(word.removeprefix("-"))
        if column is None or not (column.comparable or column.name == schema.key):
            flaws.add("sort", "names no column to sort by")
        elif column in [order.column for order in orders]:
            flaws.add("sort", "names a column twice")
        elif len(orders) == MOST_SORTED:
            flaws.add("sort", f"names more than {MOST_SORTED} columns")
            break
        else:
            orders.append(Order(column, word.startswith("-")))
    key = schema.column(schema.key) if schema.key is not None else None
    if key is not None and key not in [order.column for order in orders]:
        orders.append(Order(key, orders[-1].down if orders else False))
    return tuple(orders)


def _filter(schema: Schema, name: str, text: str, flaws: Flaws) -> Filter | None:
    column, word = schema.column(name), "eq"
    if column is None:
        plain, _, word = name.rpartition("__")
        column = schema.column(plain)
    operator = OPERATORS.get(word)
    if column is None or operator is None:
        flaws.add(name, "is neither a column with an operator nor another parameter of this list")
        return None
    if operator == "null":
        if text not in ("true", "false"):
            flaws.add(name, "expected true or false")
        return Filter(column, operator, (text == "true",))
    if not (column.comparable or column.name == schema.key):
        flaws.add(name, "only null can be asked of this column")
        return None
    if operator == "contains":
        return _contains(column, name, text, flaws)
    texts = text.split(",") if operator == "in" else [text]
    if len(texts) > MOST_LISTED:
        flaws.add(name, f"has more than {MOST_LISTED} values")
        return None
    values = [_value(column, each, name, flaws) for each in texts]
    return Filter(column, operator, tuple(values))


def _contains(column: Column, name: str, text: str, flaws: Flaws) -> Filter | None:
    if column.kind != "text":
        flaws.add(name, "only a text can contain something")
        return None
    whole = Column(column.name, "text", column.type)  # without its limit of length
    return Filter(column, "contains", (_value(whole, text, name, flaws),))


def _value(column: Column, text: str, name: str, flaws: Flaws) -> Any:
    try:
        return from_text(column, text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        flaws.add(name, first["msg"].removeprefix("Value error, "))
    except ValueError as error:
        flaws.add(name, str(error))
    return None


def _marks(listing: Listing, cursor: str) -> tuple[Any, ...] | None:
    """What a cursor holds, if it is one of this list."""
    if len(cursor) > LONGEST_CURSOR:
        return None
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        found = orjson.loads(data)
    except (binascii.Error, ValueError):
        return None
    if not isinstance(found, list) or len(found) != len(listing.orders) + 1:
        return None
    if found[0] != listing.digest or listing.after is not None:
        return None
    return tuple(found[1:])
