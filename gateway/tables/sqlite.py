"""SQLite's ways with a table, by its pragmas (sqlite.org/pragma.html).

SQLite keeps whatever it is given. A column's type is what its declaration says; what is not in
there is kept as: a moment in UTC as `YYYY-MM-DD HH:MM:SS`, as CURRENT_TIMESTAMP is, a UUID, a date
and JSON as text, a number as SQLite likes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

import orjson

from gateway.stores import Database, Value, Violated
from gateway.tables.schema import Column, Foreign, Kind, Schema, key_of
from gateway.tables.values import aware, naive, number_text

DECLARED: Final = re.compile(
    r"(?P<name>[A-Z][A-Z0-9 ]*?) *(?:\( *(?P<first>\d+) *(?:, *(?P<second>\d+) *)?\))?"
    r"(?P<rest>[A-Z ]*)"
)
# The first that a declaration holds, as in SQLite's own rules for affinity (datatype3.html, 3.1).
KINDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("TIMESTAMPTZ", "timestamptz"),
    ("WITH TIME ZONE", "timestamptz"),
    ("TIMESTAMP", "timestamp"),
    ("DATETIME", "timestamp"),
    ("DATE", "date"),
    ("BOOL", "bool"),
    ("UUID", "uuid"),
    ("JSON", "json"),
    ("INT", "int"),
    ("CHAR", "text"),
    ("TEXT", "text"),
    ("CLOB", "text"),
    ("BLOB", "binary"),
    ("BYTEA", "binary"),
    ("REAL", "float"),
    ("FLOA", "float"),
    ("DOUB", "float"),
    ("NUMERIC", "number"),
    ("DECIMAL", "number"),
)
NAME: Final = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|[A-Za-z_][A-Za-z0-9_]*)'
ONE_OF: Final = re.compile(
    rf"CHECK\s*\(\s*({NAME})\s+IN\s*\(((?:\s*'(?:[^']|'')*'\s*,?)+)\)\s*\)", re.IGNORECASE
)
NAMED_CHECK: Final = re.compile(rf"CONSTRAINT\s+({NAME})\s+CHECK\s*\(", re.IGNORECASE)
LABEL: Final = re.compile(r"'((?:[^']|'')*)'")
KNOWN: Final = """
    SELECT name, type, sql FROM sqlite_master
    WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""
MILLISECONDS: Final = 1000


class Sqlite:
    """A `Dialect`."""

    locking = ""  # a transaction has the whole file

    async def reflect(self, database: Database, name: str) -> Schema | None:
        found = await database.fetch(f"{KNOWN} AND name = $1", name)
        if not found:
            return None
        view = found[0]["type"] == "view"
        text = found[0]["sql"] or ""
        rows = await database.fetch("SELECT * FROM pragma_table_xinfo($1)", name)
        main = tuple(row["name"] for row in sorted(rows, key=by_key) if row["pk"])
        labels = labels_of(text)
        columns = tuple(
            column_of(row, labels, rowid=main == (row["name"],) and "WITHOUT ROWID" not in text)
            for row in rows
            if row["hidden"] != 1
        )
        return Schema(
            name=name,
            sql=self.name(name),
            columns=columns,
            view=view,
            key=key_of(columns, main, view),
            uniques=await self._uniques(database, name),
            foreign=await self._foreign(database, name),
            checks=checks_of(text, columns),
        )

    async def _uniques(self, database: Database, name: str) -> dict[str, tuple[str, ...]]:
        indexes = await database.fetch(
            'SELECT name FROM pragma_index_list($1) WHERE "unique" = 1', name
        )
        found = {}
        for index in indexes:
            rows = await database.fetch(
                "SELECT name FROM pragma_index_info($1) ORDER BY seqno", index["name"]
            )
            found[index["name"]] = tuple(row["name"] for row in rows if row["name"] is not None)
        return found

    async def _foreign(self, database: Database, name: str) -> dict[str, Foreign]:
        rows = await database.fetch(
            'SELECT id, seq, "table", "from", "to" FROM pragma_foreign_key_list($1) '
            "ORDER BY id, seq",
            name,
        )
        found: dict[str, Foreign] = {}
        for row in rows:
            target = row["to"] or await self._main(database, row["table"], row["seq"] + 1)
            before = found.get(str(row["id"]), Foreign((), row["table"], ()))
            found[str(row["id"])] = Foreign(
                (*before.columns, row["from"]), row["table"], (*before.targets, target)
            )
        return found

    async def _main(self, database: Database, table: str, number: int) -> str:
        """What a reference without a column means: that column of the table's primary key."""
        rows = await database.fetch(
            "SELECT name FROM pragma_table_xinfo($1) WHERE pk = $2", table, number
        )
        return str(rows[0]["name"]) if rows else "rowid"

    async def names(self, database: Database) -> list[str]:
        return sorted(row["name"] for row in await database.fetch(KNOWN))

    async def version(self, database: Database) -> str:
        (row,) = await database.fetch("SELECT sqlite_version() AS version")
        return f"SQLite {row['version']}"

    def name(self, text: str) -> str:
        """Not in double quotes: where there is no such column, SQLite takes that for a text."""
        return "`" + text.replace("`", "``") + "`"

    def read(self, column: Column) -> str:
        return self.name(column.name)

    def place(self, column: Column, number: int) -> str:
        return f"${number}"

    def find(self, column: Column, number: int) -> str:
        return f"instr({self.name(column.name)}, ${number}) > 0"

    def default(self, column: Column) -> str:
        return "NULL" if column.default is None else f"({column.default})"

    def stored(self, column: Column, value: Any) -> Value:
        if value is None:
            return None
        if column.kind == "json":
            return orjson.dumps(value).decode()
        if column.kind == "binary":
            return bytes.fromhex(value[2:])
        if isinstance(value, datetime):
            return value.replace(tzinfo=None).isoformat(" ")
        if isinstance(value, Decimal):
            return number_text(value)
        if isinstance(value, UUID | date):
            return str(value)
        return value  # type: ignore[no-any-return]  # the model made it

    def shown(self, column: Column, raw: Any) -> Any:
        if raw is None:
            return None
        if isinstance(raw, bytes):
            return "\\x" + raw.hex()
        show = _SHOWN.get(column.kind)
        return raw if show is None else show(column, raw)

    def marked(self, column: Column, mark: Any) -> Value:
        """As it is in the file, whoever wrote it there and how."""
        if mark is not None and not isinstance(mark, str | int | float):
            raise ValueError("is no value")
        return mark

    def columns(self, schema: Schema, violated: Violated) -> tuple[str, ...]:
        if violated.column:
            return tuple(violated.column.split(", "))
        if violated.rule == "unique":
            return schema.uniques.get(violated.constraint.partition("'")[2].rstrip("'"), ())
        if violated.rule == "check":  # SQLite says its name, or else its text
            named = schema.checks.get(violated.constraint)
            return named or named_in(violated.constraint, schema.columns)
        return ()


def by_key(row: Mapping[str, Any]) -> int:
    return int(row["pk"])


def _bool(column: Column, raw: Any) -> Any:
    return bool(raw)


def _number(column: Column, raw: Any) -> str:
    try:
        value = Decimal(str(raw))
        if column.scale is not None:
            value = value.quantize(Decimal(1).scaleb(-column.scale))
    except InvalidOperation:  # whoever wrote it there
        return str(raw)
    return number_text(value)


def _moment(column: Column, raw: Any) -> Any:
    """ISO 8601; some write milliseconds since 1970."""
    try:
        if isinstance(raw, int | float):
            found = datetime.fromtimestamp(raw / MILLISECONDS, UTC)
        else:
            found = datetime.fromisoformat(raw)
        return naive(found) if column.kind == "timestamp" else aware(found)
    except (ValueError, OverflowError, OSError):
        return raw


def _json(column: Column, raw: Any) -> Any:
    """An affinity to numbers makes a number of `5`."""
    if not isinstance(raw, str):
        return raw
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw


_SHOWN: Final = {
    "bool": _bool,
    "number": _number,
    "timestamp": _moment,
    "timestamptz": _moment,
    "json": _json,
}


def unquoted(name: str) -> str:
    """An identifier of a statement as the catalogue has it."""
    if name[0] in '"`[':
        return name[1:-1].replace('""', '"')
    return name


def labels_of(text: str) -> dict[str, tuple[str, ...]]:
    """The texts that a CHECK leaves a column: `CHECK (status IN ('draft', 'live'))`."""
    return {
        unquoted(name): tuple(label.replace("''", "'") for label in LABEL.findall(listed))
        for name, listed in ONE_OF.findall(text)
    }


def named_in(text: str, columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Those columns that a condition speaks of, as far as words tell."""
    words = set(re.findall(r"\w+", text))
    return tuple(column.name for column in columns if column.name in words)


def checks_of(text: str, columns: tuple[Column, ...]) -> dict[str, tuple[str, ...]]:
    """The columns of each condition that has a name."""
    return {
        unquoted(match[1]): named_in(inside(text, match.end()), columns)
        for match in NAMED_CHECK.finditer(text)
    }


def inside(text: str, start: int) -> str:
    """From there to the bracket that closes the one before it."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return text[start:]


def column_of(
    row: Mapping[str, Any], labels: Mapping[str, tuple[str, ...]], *, rowid: bool
) -> Column:
    """A column as the pragma has it; `rowid` says that the primary key is this one alone."""
    declared = str(row["type"]).upper()
    match = DECLARED.fullmatch(declared)
    kind: Kind = next((kind for word, kind in KINDS if word in declared), "other")
    listed = labels.get(row["name"], ()) if kind == "text" else ()
    first, second = (match["first"], match["second"]) if match else (None, None)
    precision = scale = length = None
    if kind == "number" and first is not None:
        precision, scale = int(first), int(second or 0)
    if kind == "text" and first is not None:
        length = int(first)
    numbered = rowid and declared == "INTEGER"  # another name for the rowid
    return Column(
        name=row["name"],
        kind="enum" if listed else kind,
        type=declared or "ANY",
        nullable=not row["notnull"] and not row["pk"],
        default="rowid" if numbered else row["dflt_value"],
        generated=row["hidden"] in (2, 3),
        length=length,
        precision=precision,
        scale=scale,
        bits=16 if declared == "SMALLINT" else 64,
        labels=listed,
    )
