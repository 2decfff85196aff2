"""The models that `gateway reflect` writes: Python that others import."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from pydantic import ValidationError

from gateway.stores import Database
from gateway.tables.reflected import dialect_of
from gateway.tables.schema import Column, Schema
from gateway.tables.source import source_of
from tests.rows import migrate


def imported(text: str) -> ModuleType:
    module = ModuleType("written_models")
    sys.modules[module.__name__] = module  # pydantic looks names up there
    exec(compile(text, "models.py", "exec"), module.__dict__)
    return module


async def test_models_take_what_the_table_takes(database: Database) -> None:
    await migrate(database)
    schemas = [
        await dialect_of(database).reflect(database, name) for name in ("pages", "sad_pages")
    ]
    text = source_of([schema for schema in schemas if schema is not None])
    module = imported(text)
    new = module.PagesNew(slug="a", title="A", mood="it's", price="1.50", data={"a": 1})
    assert new.model_dump(exclude_unset=True)["mood"] == "it's"
    assert module.SadPages(id=1, slug="a", size=None).size is None
    assert not hasattr(module, "SadPagesNew")
    for wrong in ({"slug": "a" * 13}, {"mood": "glad"}, {"price": "1.234"}, {"title": None}):
        with pytest.raises(ValidationError):
            module.PagesNew(**{"slug": "a", "title": "A", **wrong})


async def test_same_table_gives_the_same_text(database: Database) -> None:
    await migrate(database)
    dialect = dialect_of(database)
    texts = set()
    for _ in range(2):
        schema = await dialect.reflect(database, "pages")
        assert schema is not None
        texts.add(source_of([schema]))
    assert len(texts) == 1


NAMES = [
    "class", "model_dump", "copy", "_x", "1st", "a b", "a-b", "a_b", '"""', "x\n\\", "int", "Any",
    "\N{SNOWMAN}", "é", "__init__", "self", "BaseModel",
]  # fmt: skip


def test_any_name_of_a_column_becomes_one_of_python() -> None:
    columns = tuple(Column(name, "text", "TEXT", nullable=False) for name in NAMES)
    module = imported(source_of([Schema("pages", '"pages"', columns)]))
    row = module.Pages(**dict.fromkeys(NAMES, "x"))
    assert set(row.model_dump(by_alias=True)) == set(NAMES)


def test_nothing_in_a_schema_becomes_code() -> None:
    hostile = ["'); import os; os._exit(9) #", '"""', "']}", "\\", "\n", "{0}"]
    columns = (
        *(Column(name, "text", "TEXT") for name in hostile),
        Column("e", "enum", "TEXT", labels=tuple(hostile), array=True),
    )
    module = imported(source_of([Schema("pages", "", columns)]))
    assert module.PagesNew(e=hostile).e == hostile


def test_tables_of_like_names_have_models_of_their_own() -> None:
    schemas = [Schema(name, "", ()) for name in ("a_b", "a.b", "aB", "AB", "class", "1")]
    module = imported(source_of(schemas))
    made = [
        name for name in vars(module) if vars(module)[name].__class__.__name__ == "ModelMetaclass"
    ]
    assert len(made) == 2 * len(schemas) + 1
