"""The models of tables as Python source, for those who write clients and services in it.

The same tables give the same text, to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from keyword import iskeyword
from typing import Final

from pydantic import BaseModel

from gateway.tables.schema import Column, Schema

TITLE: Final = '"""Models of tables, written by `gateway reflect`: not to be changed by hand."""'
IMPORTS: Final = {
    "datetime": ("date", "datetime"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Any", "Literal"),
    "uuid": ("UUID",),
}
LINE: Final = 100  # characters, before somebody's linter complains
LONGEST: Final = 64  # bits, as good as no limit to who writes a client
PLAIN: Final = {
    "float": "float",
    "bool": "bool",
    "uuid": "UUID",
    "date": "date",
    "timestamp": "datetime",
    "timestamptz": "datetime",
    "json": "Any",
    "binary": "str",
    "other": "str",
}
TAKEN: Final = frozenset(dir(BaseModel)) | {
    *(name for names in IMPORTS.values() for name in names),
    *("BaseModel", "Field", "bool", "float", "int", "list", "str"),
}


def source_of(schemas: Sequence[Schema]) -> str:
    """A module with two models for each table, what is read and what is written."""
    classes: set[str] = set()
    parts: list[str] = []
    for schema in schemas:
        name = _unique(_class(schema.name), classes)
        parts.append("\n".join(_read(name, schema)))
        if not schema.view:
            written = _unique(f"{name}New", classes)
            parts.append("\n".join(_write(written, schema)))
    body = "\n\n".join(parts)
    long = any(len(line) > LINE for line in body.split("\n"))
    notes = "# fmt: off\n" + ("# ruff: noqa: E501\n" if long else "")
    return f"{TITLE}\n{notes}\nfrom __future__ import annotations\n\n{_imports(body)}\n\n{body}"


def _imports(body: str) -> str:
    """Those that are needed."""
    words = set(re.findall(r"\w+", body))
    lines = []
    for module, names in IMPORTS.items():
        needed = [name for name in names if name in words]
        if needed:
            lines.append(f"from {module} import {', '.join(needed)}")
    needed = [name for name in ("BaseModel", "Field") if name in words]
    return "\n".join(
        [*lines, *([""] if lines else []), f"from pydantic import {', '.join(needed)}\n"]
    )


def _read(name: str, schema: Schema) -> Iterator[str]:
    kind = "view" if schema.view else "table"
    yield f"class {name}(BaseModel):"
    yield f"    {_text(f'A row of the {kind} {schema.name}.')}"
    yield ""
    yield from _fields(schema.columns, read=True)
    yield ""


def _write(name: str, schema: Schema) -> Iterator[str]:
    yield f"class {name}(BaseModel):"
    yield f"    {_text(f'A new row of the table {schema.name}.')}"
    yield ""
    yield from _fields(schema.writable, read=False)
    yield ""


def _fields(columns: Sequence[Column], *, read: bool) -> Iterator[str]:
    taken = set(TAKEN)
    for column in columns:
        name = _unique(_identifier(column.name), taken)
        default = "..." if read or column.required else "None"
        # What is left out is the database's to fill in: it is null here, and is not to be sent.
        optional = column.nullable or default == "None"
        kind = f"{written(column)} | None" if optional else written(column)
        if name != column.name:
            yield f"    {name}: {kind} = Field({default}, alias={column.name!r})"
        elif default == "None":
            yield f"    {name}: {kind} = None"
        else:
            yield f"    {name}: {kind}"
    if not columns:
        yield "    pass"


def written(column: Column) -> str:
    """The type of a column's values, without null."""
    made = _plain(column)
    return f"list[{made}]" if column.array else made


def _plain(column: Column) -> str:
    if column.kind == "enum":
        return f"Literal[{', '.join(map(repr, column.labels))}]"
    if column.kind == "text":
        return "str" if column.length is None else _limited("str", max_length=column.length)
    if column.kind == "int":
        most = 1 << (column.bits - 1)
        return "int" if column.bits == LONGEST else _limited("int", ge=-most, le=most - 1)
    if column.kind == "number":
        if column.precision is None or column.scale is None:
            return "Decimal"
        return _limited("Decimal", max_digits=column.precision, decimal_places=column.scale)
    return PLAIN[column.kind]


def _limited(kind: str, **limits: int) -> str:
    words = ", ".join(f"{name}={limit}" for name, limit in limits.items())
    return f"Annotated[{kind}, Field({words})]"


def _text(sentence: str) -> str:
    """A docstring. A name with quotes or backslashes in it is spelled as a literal."""
    return f'"""{sentence}"""' if '"' not in sentence and "\\" not in sentence else repr(sentence)


def _class(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in _identifier(name).split("_"))


def _identifier(name: str) -> str:
    """A name that Python takes, like this one."""
    made = re.sub(r"\W", "_", name).lstrip("_") or "column"
    if made[0].isdigit() or made.startswith("model_"):  # which pydantic keeps for itself
        return f"n_{made}"
    return f"{made}_" if iskeyword(made) else made


def _unique(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
