"""SQL: identifiers from the schema, everything else by parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.stores import Value
from gateway.tables.dialect import Dialect
from gateway.tables.listing import Filter, Listing, Order
from gateway.tables.schema import Column, Schema

Statement = tuple[str, list[Value]]


class Statements:
    """Those of one table."""

    def __init__(self, schema: Schema, dialect: Dialect) -> None:
        self._schema = schema
        self._dialect = dialect
        self._columns = ", ".join(dialect.read(column) for column in schema.columns)

    def count(self, listing: Listing) -> Statement:
        values: list[Value] = []
        where = self._where(self._filters(listing.filters, values))
        return f"SELECT count(*) AS total FROM {self._schema.sql}{where}", values

    def part(self, listing: Listing) -> Statement:
        """One row more than was asked for, which tells whether there is another part."""
        values: list[Value] = []
        conditions = list(self._filters(listing.filters, values))
        if listing.after is not None:
            conditions.append(self._behind(listing.orders, listing.after, values))
        sql = f"SELECT {self._columns} FROM {self._schema.sql}{self._where(conditions)}"
        if listing.orders:
            sql += f" ORDER BY {', '.join(map(self._order, listing.orders))}"
        values += [listing.limit + 1, listing.offset]
        return f"{sql} LIMIT ${len(values) - 1} OFFSET ${len(values)}", values

    def get(self, key: Column, name: Any, *, to_change: bool = False) -> Statement:
        values: list[Value] = []
        where = self._equal(key, name, values)
        lock = self._dialect.locking if to_change else ""
        return f"SELECT {self._columns} FROM {self._schema.sql} WHERE {where}{lock}", values

    def insert(self, row: Mapping[Column, Any]) -> Statement:
        values: list[Value] = []
        names = ", ".join(self._dialect.name(column.name) for column in row)
        places = ", ".join(self._put(column, value, values) for column, value in row.items())
        what = f"({names}) VALUES ({places})" if row else "DEFAULT VALUES"
        return f"INSERT INTO {self._schema.sql} {what} RETURNING {self._columns}", values

    def replace(self, key: Column, name: Any, row: Mapping[Column, Any]) -> Statement:
        """Columns that `row` leaves out are as in a new row."""
        values: list[Value] = []
        changes = ", ".join(
            f"{self._dialect.name(column.name)} = "
            + (
                self._put(column, row[column], values)
                if column in row
                else self._dialect.default(column)
            )
            for column in self._schema.writable
            if column is not key
        )
        where = self._equal(key, name, values)
        if not changes:
            return f"SELECT {self._columns} FROM {self._schema.sql} WHERE {where}", values
        return (
            f"UPDATE {self._schema.sql} SET {changes} WHERE {where} RETURNING {self._columns}",
            values,
        )

    def delete(self, key: Column, name: Any) -> Statement:
        values: list[Value] = []
        return f"DELETE FROM {self._schema.sql} WHERE {self._equal(key, name, values)}", values

    def _where(self, conditions: Iterator[str] | Sequence[str]) -> str:
        joined = " AND ".join(conditions)
        return f" WHERE {joined}" if joined else ""

    def _put(self, column: Column, value: Any, values: list[Value]) -> str:
        values.append(self._dialect.stored(column, value))
        return self._dialect.place(column, len(values))

    def _equal(self, column: Column, value: Any, values: list[Value]) -> str:
        return f"{self._dialect.name(column.name)} = {self._put(column, value, values)}"

    def _filters(self, filters: Sequence[Filter], values: list[Value]) -> Iterator[str]:
        for each in filters:
            name = self._dialect.name(each.column.name)
            if each.operator == "null":
                yield f"{name} IS {'' if each.values[0] else 'NOT '}NULL"
            elif each.operator == "contains":
                values.append(each.values[0])
                yield self._dialect.find(each.column, len(values))
            elif each.operator == "in":
                places = [self._put(each.column, value, values) for value in each.values]
                yield f"{name} IN ({', '.join(places)})"
            else:
                yield f"{name} {each.operator} {self._put(each.column, each.values[0], values)}"

    def _behind(self, orders: Sequence[Order], marks: Sequence[Value], values: list[Value]) -> str:
        """Rows that come later: equal in the first columns, then behind in the next one."""
        ways = []
        equal: list[str] = []
        for order, mark in zip(orders, marks, strict=True):
            name = self._dialect.name(order.column.name)
            if mark is None:  # null is last: nothing comes behind it
                equal.append(f"{name} IS NULL")
                continue
            values.append(mark)
            place = self._dialect.place(order.column, len(values))
            later = f"{name} {'<' if order.down else '>'} {place}"
            if order.column.nullable:
                later = f"({later} OR {name} IS NULL)"
            ways.append(" AND ".join([*equal, later]))
            equal.append(f"{name} = {place}")
        return f"({' OR '.join(ways)})" if ways else "1 = 0"

    def _order(self, order: Order) -> str:
        nulls = " NULLS LAST" if order.column.nullable else ""
        return self._dialect.name(order.column.name) + (" DESC" if order.down else "") + nulls
