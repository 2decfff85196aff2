"""What a table looks like: columns, keys, rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal[
    "text",
    "int",
    "number",
    "float",
    "bool",
    "uuid",
    "date",
    "timestamp",  # without a zone: taken for UTC
    "timestamptz",
    "json",
    "enum",
    "binary",
    "other",  # read and written as the database's own text
]

BITS: Final = {"smallint": 16, "integer": 32, "bigint": 64}
UNORDERED: Final = frozenset(("json", "binary", "other"))


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `default` is an SQL expression; None where there is none."""

    name: str
    kind: Kind
    type: str  # in the database's words
    nullable: bool = True
    default: str | None = None
    generated: bool = False  # by the database, always: not to be written
    length: int | None = None  # characters
    precision: int | None = None  # digits, of which
    scale: int | None = None  # so many behind the point
    bits: int = 64  # of an int
    labels: tuple[str, ...] = ()  # of an enum
    array: bool = False

    @property
    def required(self) -> bool:
        """Whether a new row has to name it."""
        return not self.nullable and self.default is None

    @property
    def comparable(self) -> bool:
        """Whether rows can be sorted and filtered by it."""
        return self.kind not in UNORDERED and not self.array


@dataclass(frozen=True, slots=True)
class Foreign:
    """Those columns refer to a row of `table`, by its `targets` in the same order."""

    columns: tuple[str, ...]
    table: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """One table or view. Rules are named as the database names them in its errors."""

    name: str  # by which it was asked for
    sql: str  # the same in a statement, quoted
    columns: tuple[Column, ...]
    view: bool = False
    key: str | None = None  # the column that names a row: the only one of its primary key
    uniques: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    foreign: Mapping[str, Foreign] = field(default_factory=dict)
    checks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    @property
    def writable(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not column.generated)


def key_of(columns: tuple[Column, ...], primary: tuple[str, ...], view: bool) -> str | None:
    """The column that names a row. A view has no keys: one that is called `id` is taken for it."""
    if view:
        primary = ("id",)
    found = [column for column in columns if column.name in primary]
    if len(primary) != 1 or not found or found[0].array or found[0].kind in ("json", "binary"):
        return None
    return found[0].name
