"""`gateway reflect`: models of the tables that `apis.pages` names, as a Python module.

Raises ValueError with what is wrong, and `StoreDown`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.config import Settings
from gateway.storage import open_database
from gateway.tables.reflected import dialect_of
from gateway.tables.schema import Schema
from gateway.tables.source import source_of


def write(settings: Settings, output: Path) -> str:
    """Write the models as they have to be now; says what was done."""
    made = _made(settings)
    if output.is_file() and output.read_text("utf-8") == made:
        return f"unchanged: {output}"
    output.write_text(made, "utf-8")
    return f"written: {output}"


def check(settings: Settings, output: Path) -> str:
    """Say that the models are those of the tables. Raises ValueError if they are not."""
    made = _made(settings)
    if not output.is_file():
        raise ValueError(f"{output}: there is no such file; gateway reflect writes it")
    if output.read_text("utf-8") != made:
        raise ValueError(f"{output}: stale, the tables have changed; gateway reflect writes it")
    return f"ok: {output}"


def _made(settings: Settings) -> str:
    table = settings.apis.pages
    if table is None:
        raise ValueError("apis.pages is off: there are no tables")
    return source_of(asyncio.run(_schemas(settings, table.names)))


async def _schemas(settings: Settings, names: tuple[str, ...]) -> list[Schema]:
    database = open_database(settings.stores)
    dialect = dialect_of(database)
    try:
        found = [await dialect.reflect(database, name) for name in names]
    finally:
        await database.close()
    missing = [name for name, schema in zip(names, found, strict=True) if schema is None]
    if missing:
        raise ValueError(f"there is no table {', '.join(missing)} in the database")
    return [schema for schema in found if schema is not None]
