"""PostgreSQL's ways with a table, by its catalogue (PostgreSQL, chapter 53)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson

from gateway.stores import Database, Value, Violated
from gateway.tables.schema import BITS, Column, Foreign, Kind, Schema, key_of
from gateway.tables.values import from_text, number_text

KINDS: Final[Mapping[str, Kind]] = {
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "int2": "int",
    "int4": "int",
    "int8": "int",
    "numeric": "number",
    "float4": "float",
    "float8": "float",
    "bool": "bool",
    "uuid": "uuid",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "json": "json",
    "jsonb": "json",
    "bytea": "binary",
}
INTEGERS: Final = {"int2": 16, "int4": BITS["integer"], "int8": BITS["bigint"]}
GIVEN: Final = {"r", "p", "v", "m", "f"}  # tables, parts of them, views, foreign tables
VIEWS: Final = {"v", "m"}

FOUND: Final = """
    SELECT c.oid::bigint AS oid, c.relkind::text AS kind, n.nspname::text AS space,
        c.relname::text AS name, pg_table_is_visible(c.oid) AS visible
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind::text = ANY($1::text[])
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
# A domain counts as what it is made from; an array as its elements.
COLUMNS: Final = """
    SELECT a.attname::text AS name, a.attnotnull OR t.typnotnull AS filled,
        a.attgenerated::text <> '' OR a.attidentity::text = 'a' AS generated,
        CASE WHEN a.attidentity::text <> '' THEN 'identity'
            ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), t.typdefault) END AS fallback,
        format_type(a.atttypid, NULL) AS written, format_type(a.atttypid, a.atttypmod) AS type,
        coalesce(e.typname, b.typname, t.typname)::text AS base, e.oid IS NOT NULL AS array,
        CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END AS modifier,
        ARRAY(SELECT l.enumlabel::text FROM pg_enum l
            WHERE l.enumtypid = coalesce(e.oid, b.oid, t.oid) ORDER BY l.enumsortorder) AS labels
    FROM pg_attribute a
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
        LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""
INDEXES: Final = """
    SELECT c.relname::text AS name, i.indisprimary AS main, ARRAY(
            SELECT a.attname::text
            FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(number, place)
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
            WHERE k.place <= i.indnkeyatts ORDER BY k.place
        ) AS columns
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = $1::bigint::oid AND (i.indisunique OR i.indisexclusion)
"""
NAMES: Final = """ARRAY(SELECT a.attname::text FROM unnest({keys}) WITH ORDINALITY k(number, place)
    JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number ORDER BY k.place)"""
RULES: Final = f"""
    SELECT o.conname::text AS name, o.contype::text AS kind, pg_get_constraintdef(o.oid) AS text,
        {NAMES.format(keys="o.conkey", table="o.conrelid")} AS columns,
        {NAMES.format(keys="o.confkey", table="o.confrelid")} AS targets,
        CASE WHEN o.contype = 'f' THEN o.confrelid::regclass::text END AS target
    FROM pg_constraint o
    WHERE o.conrelid = $1::bigint::oid AND o.contype IN ('f', 'c')
"""
ONE_OF: Final = re.compile(r"= ANY \(+ARRAY\[(?P<labels>.*?)\]")
LABEL: Final = re.compile(r"'((?:[^']|'')*)'::[a-z ]+(?:, |$)")


class Postgres:
    """A `Dialect`."""

    locking = " FOR UPDATE"

    async def reflect(self, database: Database, name: str) -> Schema | None:
        """A name with a dot names its schema, too: `public.pages`."""
        space, dot, plain = name.rpartition(".")
        where = "c.relname = $2 AND pg_table_is_visible(c.oid)"
        values = [name]
        if dot:
            where += " OR (n.nspname = $3 AND c.relname = $4)"
            values += [space, plain]
        found = await database.fetch(f"{FOUND} AND ({where})", sorted(GIVEN), *values)
        if not found:
            return None
        table = found[0]
        oid = table["oid"]
        view = table["kind"] in VIEWS
        indexes = await database.fetch(INDEXES, oid)
        rules = await database.fetch(RULES, oid)
        labels = labels_of(rules)
        columns = tuple(column_of(row, labels) for row in await database.fetch(COLUMNS, oid))
        main = next((tuple(each["columns"]) for each in indexes if each["main"]), ())
        return Schema(
            name=name,
            sql=f"{self.name(table['space'])}.{self.name(table['name'])}",
            columns=columns,
            view=view,
            key=key_of(columns, main, view),
            uniques={each["name"]: tuple(each["columns"]) for each in indexes},
            foreign={
                each["name"]: Foreign(
                    tuple(each["columns"]), each["target"], tuple(each["targets"])
                )
                for each in rules
                if each["kind"] == "f"
            },
            checks={each["name"]: tuple(each["columns"]) for each in rules if each["kind"] == "c"},
        )

    async def names(self, database: Database) -> list[str]:
        rows = await database.fetch(FOUND, sorted(GIVEN))
        return sorted(
            row["name"] if row["visible"] else f"{row['space']}.{row['name']}" for row in rows
        )

    async def version(self, database: Database) -> str:
        (row,) = await database.fetch("SHOW server_version")
        return f"PostgreSQL {row['server_version']}"

    def name(self, text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    def read(self, column: Column) -> str:
        name = self.name(column.name)
        return f"{name}::text AS {name}" if column.kind == "other" else name

    def place(self, column: Column, number: int) -> str:
        # `type` is format_type's, which quotes what has to be.
        return f"${number}::text::{column.type}" if column.kind == "other" else f"${number}"

    def find(self, column: Column, number: int) -> str:
        return f"strpos({self.name(column.name)}, ${number}) > 0"

    def default(self, column: Column) -> str:
        return "DEFAULT"

    def stored(self, column: Column, value: Any) -> Value:
        if column.array and value is not None:
            return [_stored(column, each) for each in value]
        return _stored(column, value)

    def shown(self, column: Column, raw: Any) -> Any:
        if column.array and isinstance(raw, list):
            return [self.shown(column, each) for each in raw]
        if isinstance(raw, Decimal):
            return number_text(raw)
        if isinstance(raw, UUID):
            return str(raw)
        if isinstance(raw, bytes):
            return "\\x" + raw.hex()
        if column.kind == "json" and raw is not None:
            return orjson.loads(raw)
        return raw

    def marked(self, column: Column, mark: Any) -> Value:
        if mark is None:
            return None
        return self.stored(column, from_text(column, mark if isinstance(mark, str) else str(mark)))

    def columns(self, schema: Schema, violated: Violated) -> tuple[str, ...]:
        name = violated.constraint
        if violated.rule == "unique":
            return schema.uniques.get(name, ())
        if violated.rule == "foreign":
            return schema.foreign[name].columns if name in schema.foreign else ()
        if name in schema.checks:
            return schema.checks[name]
        return (violated.column,) if violated.column else ()


def _stored(column: Column, value: Any) -> Value:
    if value is None:
        return None
    if column.kind == "json":
        return orjson.dumps(value).decode()
    if column.kind == "binary":
        return bytes.fromhex(value[2:])
    return value  # type: ignore[no-any-return]  # the model made it


def labels_of(rules: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The texts that a CHECK leaves a column: `CHECK (status IN ('draft', 'live'))`."""
    found = {}
    for rule in rules:
        match = ONE_OF.search(rule["text"])
        if rule["kind"] == "c" and len(rule["columns"]) == 1 and match is not None:
            listed = match["labels"]
            if LABEL.sub("", listed) == "" and " OR " not in rule["text"]:
                labels = tuple(label.replace("''", "'") for label in LABEL.findall(listed))
                found[rule["columns"][0]] = labels
    return found


def column_of(row: Mapping[str, Any], labels: Mapping[str, tuple[str, ...]]) -> Column:
    """A column as the catalogue has it."""
    base, modifier = row["base"], row["modifier"]
    kind: Kind = KINDS.get(base, "other")
    listed = tuple(row["labels"])
    if kind == "text" and row["name"] in labels and not row["array"]:
        listed = labels[row["name"]]
    precision = scale = length = None
    if kind == "number" and modifier >= 4:
        # PostgreSQL keeps both in one number (numeric.c); a scale may be negative since 15.
        precision, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
        if scale > precision:
            precision = scale = None
    if kind == "text" and base != "text" and modifier >= 4:
        length = modifier - 4
    return Column(
        name=row["name"],
        kind="enum" if listed else kind,
        type=row["written"],
        nullable=not row["filled"],
        default=row["fallback"],
        generated=row["generated"],
        length=length,
        precision=precision,
        scale=scale,
        bits=INTEGERS.get(base, 64),
        labels=listed,
        array=row["array"] and (kind != "other" or bool(listed)),
    )
