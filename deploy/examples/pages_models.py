"""Models of tables, written by `gateway reflect`: not to be changed by hand."""
# fmt: off

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field


class Pages(BaseModel):
    """A row of the table pages."""

    id: int
    slug: Annotated[str, Field(max_length=64)]
    title: Annotated[str, Field(max_length=200)]
    body: str | None
    status: Literal['draft', 'live', 'gone']
    author: int | None
    price: Annotated[Decimal, Field(max_digits=10, decimal_places=2)] | None
    tags: Any | None
    created: datetime


class PagesNew(BaseModel):
    """A new row of the table pages."""

    id: int | None = None
    slug: Annotated[str, Field(max_length=64)]
    title: Annotated[str, Field(max_length=200)]
    body: str | None = None
    status: Literal['draft', 'live', 'gone'] | None = None
    author: int | None = None
    price: Annotated[Decimal, Field(max_digits=10, decimal_places=2)] | None = None
    tags: Any | None = None
    created: datetime | None = None


class Authors(BaseModel):
    """A row of the table authors."""

    id: int
    name: Annotated[str, Field(max_length=80)]


class AuthorsNew(BaseModel):
    """A new row of the table authors."""

    id: int | None = None
    name: Annotated[str, Field(max_length=80)]


class LivePages(BaseModel):
    """A row of the view live_pages."""

    id: int | None
    slug: Annotated[str, Field(max_length=64)] | None
    title: Annotated[str, Field(max_length=200)] | None
    body: str | None
    created: datetime | None
