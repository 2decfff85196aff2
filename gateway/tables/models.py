"""Pydantic models of a table: of a row as it is shown, of one as it is asked for, of a list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from gateway.bodies import Asked
from gateway.tables.listing import FURTHEST, RESERVED
from gateway.tables.schema import Column, Schema
from gateway.tables.values import annotation


class Shown(BaseModel):
    """What the models of all answers have in common."""

    model_config = ConfigDict(defer_build=True)


class Models:
    """The models of one table. A column may have any name: fields are numbered, with aliases."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._titles = "".join(part[:1].upper() + part[1:] for part in _words(schema.name))
        self._fields = {f"c{number}": each for number, each in enumerate(schema.columns)}

    @cached_property
    def asked(self) -> type[BaseModel]:
        """A row to be made, or to take the place of another."""
        fields: dict[str, Any] = {
            name: _field(column, required=column.required)
            for name, column in self._fields.items()
            if not column.generated
        }
        return create_model(f"{self._titles}Asked", __base__=Asked, **fields)

    @cached_property
    def replaced(self) -> type[BaseModel]:
        """Likewise, where the path names the row: one that was read can be sent back whole."""
        given = self._schema.key
        fields: dict[str, Any] = {
            name: _field(
                column,
                required=column.required and not column.generated and column.name != given,
            )
            for name, column in self._fields.items()
        }
        return create_model(f"{self._titles}Replacement", __base__=Asked, **fields)

    @cached_property
    def row(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            name: _field(column, required=True) for name, column in self._fields.items()
        }
        return create_model(f"{self._titles}Row", __base__=Shown, **fields)

    @cached_property
    def page(self) -> type[BaseModel]:
        fields: dict[str, Any] = {
            "items": (list[self.row], ...),  # type: ignore[name-defined]
            "total": (int, Field(description="rows that the filters leave")),
            "limit": (int, ...),
            "offset": (int | None, Field(description="null where a cursor was given")),
            "next_cursor": (str | None, Field(description="of the next part; null after the last")),
        }
        return create_model(f"{self._titles}Page", __base__=Shown, **fields)

    def query(self, size: int, most: int) -> type[BaseModel]:
        """The parameters of a list; of the filters, those that ask for one value."""
        fields: dict[str, Any] = {
            "limit": (int, Field(size, ge=1, le=most, description="rows at most")),
        }
        for name, column in self._fields.items():
            if column.comparable and column.name not in RESERVED:
                fields[name] = (annotation(column) | None, Field(None, alias=column.name))
        return create_model(f"{self._titles}Query", __base__=Query, **fields)

    def values(self, asked: BaseModel) -> Mapping[Column, Any]:
        """What was said of each column; others were left out."""
        return {
            self._fields[name]: getattr(asked, name)
            for name in self._fields
            if name in asked.model_fields_set
        }


class Query(BaseModel):
    """The parameters of every list. Filters are further ones: `field=value`, `field__gt=value`."""

    limit: int = Field(50, ge=1, description="rows at most")
    offset: int = Field(0, ge=0, le=FURTHEST, description="rows left out before")
    cursor: str | None = Field(None, description="`next_cursor` of the part before")
    sort: str | None = Field(None, description="columns, `-created,title`; `-` is downwards")


def _words(name: str) -> list[str]:
    return "".join(each if each.isalnum() else " " for each in name).split() or ["Table"]


def _field(column: Column, *, required: bool) -> tuple[Any, Any]:
    kind = annotation(column)
    default: Any = ... if required else None
    return (kind | None if column.nullable else kind, Field(default, alias=column.name))
