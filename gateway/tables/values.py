"""The values that a column takes: as a type for pydantic, which checks them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from gateway.tables.schema import Column

DIGITS: Final = 1000
"""Of a number whose column names no limit: to write out 1E1000000000 would take all memory."""


def storable(text: str) -> str:
    """No database keeps a NUL in a text."""
    if "\0" in text:
        raise ValueError("holds NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not Unicode") from None
    return text


def bounded(value: Decimal) -> Decimal:
    if abs(value.adjusted()) > DIGITS:
        raise ValueError(f"has more than {DIGITS} digits")
    return value


def dated(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A text of ISO 8601; pydantic would take seconds since 1970, too."""
    if not isinstance(value, str) or value[4:5] != "-":
        raise ValueError("is no date of ISO 8601")
    return handler(value)


def naive(moment: datetime) -> datetime:
    """In UTC, and without saying so."""
    return aware(moment).replace(tzinfo=None)


def aware(moment: datetime) -> datetime:
    """In UTC."""
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # the first and the last hours of all
        raise ValueError("is before the year 1 or after the year 9999") from None


def json_value(value: Any) -> Any:
    try:
        if b"\\u0000" in orjson.dumps(value).replace(b"\\\\", b""):
            raise ValueError("holds NUL")
    except TypeError:
        raise ValueError("holds a number that is too large") from None
    return value


def annotation(column: Column) -> Any:
    """The type of a column's values, without null."""
    made = _MADE.get(column.kind, _text)(column)
    return list[made] if column.array else made  # type: ignore[valid-type]  # made here


def _text(column: Column) -> Any:
    return Annotated[str, Field(max_length=column.length), AfterValidator(storable)]


def _int(column: Column) -> Any:
    most = 1 << (column.bits - 1)
    return Annotated[int, Field(ge=-most, le=most - 1)]


def _number(column: Column) -> Any:
    digits = Field(max_digits=column.precision, decimal_places=column.scale)
    return Annotated[Decimal, digits, AfterValidator(bounded)]


def _enum(column: Column) -> Any:
    return Literal[column.labels]


# A text is no date to what is strict, once a validator has seen it.
ISO: Final = (Field(strict=False), WrapValidator(dated))
# A date-time of JSON Schema has a zone (RFC 3339, 5.6).
ZONELESS: Final = WithJsonSchema({"type": "string", "description": "ISO 8601, in UTC"})
_MADE: Final[dict[str, Callable[[Column], Any]]] = {
    "int": _int,
    "number": _number,
    "float": lambda column: Annotated[float, Field(allow_inf_nan=False)],
    "bool": lambda column: bool,
    "uuid": lambda column: UUID,
    "date": lambda column: Annotated[date, *ISO],
    "timestamp": lambda column: Annotated[datetime, *ISO, AfterValidator(naive), ZONELESS],
    "timestamptz": lambda column: Annotated[datetime, *ISO, AfterValidator(aware)],
    "json": lambda column: Annotated[Any, AfterValidator(json_value)],
    "enum": _enum,
    "binary": lambda column: Annotated[str, Field(pattern=r"^\\x([0-9a-f]{2})*$")],
}


@lru_cache(maxsize=1024)
def _adapter(column: Column) -> TypeAdapter[Any]:
    return TypeAdapter(annotation(column))


def from_text(column: Column, text: str) -> Any:
    """What a URL says of a column. Raises ValueError, pydantic's."""
    return _adapter(column).validate_python(storable(text))


def number_text(value: Decimal) -> str:
    """All digits, none lost on the way through somebody's floats."""
    return format(value, "f") if value.is_finite() else str(value)
