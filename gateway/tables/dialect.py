"""What databases do differently with the same table."""

from __future__ import annotations

from typing import Any, Protocol

from gateway.stores import Database, Value, Violated
from gateway.tables.schema import Column, Schema


class Dialect(Protocol):
    """One database's ways."""

    locking: str  # behind a SELECT that an UPDATE follows

    async def reflect(self, database: Database, name: str) -> Schema | None:
        """The table or view of this name, as it is now; None if there is none."""

    async def names(self, database: Database) -> list[str]:
        """All tables and views, by the names that `reflect` takes."""

    async def version(self, database: Database) -> str:
        """The server's name and version."""

    def name(self, text: str) -> str:
        """An identifier, quoted."""

    def read(self, column: Column) -> str:
        """A column in a SELECT."""

    def place(self, column: Column, number: int) -> str:
        """A parameter that a column is given or compared with."""

    def find(self, column: Column, number: int) -> str:
        """A condition: whether a text holds that parameter."""

    def default(self, column: Column) -> str:
        """What an UPDATE sets a column to that is to be as in a new row."""

    def stored(self, column: Column, value: Any) -> Value:
        """A model's value as a parameter."""

    def shown(self, column: Column, raw: Any) -> Any:
        """What the database gave, for JSON."""

    def marked(self, column: Column, mark: Any) -> Value:
        """What a cursor holds of a row, as a parameter. Raises ValueError."""

    def columns(self, schema: Schema, violated: Violated) -> tuple[str, ...]:
        """Which columns of the table a violation is about, as far as the database told."""
