"""The gateway's own endpoints as operations of the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import (
    GenerateJsonSchema,
    JsonSchemaMode,
    JsonSchemaValue,
    models_json_schema,
)
from pydantic_core import core_schema

from gateway.apidocs import limits, problems
from gateway.apidocs.models import Error
from gateway.own import About, Own
from gateway.units import Rate

Document = dict[str, Any]
Mode = Literal["validation", "serialization"]

EVERYWHERE: Final = frozenset((400, 500, 503))
WITH_BODY: Final = frozenset((413, 422))
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
NULL: Final = {"type": "null"}


class Schemas(GenerateJsonSchema):
    """Without what says nothing: a title that is the name again, null for what is left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Null for what is left out says nothing, and is no value where null is none."""
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


class Models:
    """The schemas of all models, made at once, so that their names are told apart."""

    def __init__(self, abouts: Iterable[About]) -> None:
        wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
            (Error, "serialization"): None
        }
        for about in abouts:
            for answer in about.answers.values():
                if answer is not None:
                    wanted[answer, "serialization"] = None
            for asked in (about.body, about.query):
                if asked is not None:
                    wanted[asked, "validation"] = None
        self._found, made = models_json_schema(
            [*wanted], ref_template="#/components/schemas/{model}", schema_generator=Schemas
        )
        self.schemas: dict[str, Document] = made.get("$defs", {})

    def schema(self, model: type[BaseModel], mode: Mode) -> Document:
        return self._found[model, mode]

    def fields(self, model: type[BaseModel]) -> tuple[Mapping[str, Document], Sequence[str]]:
        """The schemas of its fields, and the names of those that have to be there."""
        reference = self.schema(model, "validation")["$ref"]
        schema = self.schemas[reference.rpartition("/")[2]]
        return schema.get("properties", {}), schema.get("required", ())


class OwnOperations:
    """Writes them; `tiers` are how often each may ask."""

    def __init__(self, models: Models, tiers: Mapping[str, Rate | None]) -> None:
        self._models = models
        self._tiers = tiers

    def operation(self, own: Own, about: About) -> Document:
        made: Document = {
            "operationId": own.name.removeprefix("gateway."),
            "summary": about.summary,
            "tags": [about.tag],
        }
        if own.limit is not None:
            made["description"] = limits.told(own.limit, self._tiers)
            made["x-rate-limit"] = limits.data(own.limit, self._tiers)
        parameters = [*self._path(own, about), *self._query(about), *self._fields(about)]
        if parameters:
            made["parameters"] = parameters
        if about.body is not None:
            schema = self._models.schema(about.body, "validation")
            made["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
        made["responses"] = self._responses(own, about)
        if own.way != "none":
            made["security"] = problems.security(own.way, own.scopes)
        return made

    def _path(self, own: Own, about: About) -> Iterable[Document]:
        if own.parameter:
            name = own.path.rpartition("/")[2].strip("{}")
            schema: Document = {"type": "string", "minLength": 1}
            if about.pattern:
                schema["pattern"] = about.pattern
            yield {"name": name, "in": "path", "required": True, "schema": schema}

    def _fields(self, about: About) -> Iterable[Document]:
        for name, description in about.fields.items():
            schema = {"type": "string"}
            yield {"name": name, "in": "header", "description": description, "schema": schema}

    def _query(self, about: About) -> Iterable[Document]:
        if about.query is None:
            return
        schemas, required = self._models.fields(about.query)
        for name, schema in schemas.items():
            parameter: Document = {"name": name, "in": "query", "required": name in required}
            schema = said(schema)
            if "description" in schema:
                parameter["description"] = schema.pop("description")
            yield {**parameter, "schema": schema}

    def _responses(self, own: Own, about: About) -> Document:
        limited = own.limit is not None
        statuses = problems.guarded(way=own.way, scopes=own.scopes, limited=limited)
        statuses |= EVERYWHERE | frozenset(about.errors)
        if about.body is not None:
            statuses |= WITH_BODY
        answers = {str(s): self._answer(s, model, about) for s, model in about.answers.items()}
        found = {**problems.of(statuses), **answers}
        return {status: found[status] for status in sorted(found)} | {"default": problems.ANY}

    def _answer(self, status: int, model: type[BaseModel] | None, about: About) -> Document:
        made: Document = {
            "description": HTTPStatus(status).phrase,
            "headers": {"X-Request-ID": problems.REQUEST_ID},
        }
        if model is None:
            return made
        media = (about.media,) if isinstance(about.media, str) else about.media
        schema = self._models.schema(model, "serialization")
        made["content"] = {kind: content(kind, schema) for kind in media}
        return made


def content(kind: str, schema: Document) -> Document:
    """A media type's object; of an event stream, the schema is that of an event's data."""
    if kind == EVENTS:
        return {"x-event-data": schema}
    return {"schema": schema if kind == JSON else {"type": "string"}}


def said(schema: Document) -> Document:
    """Without null, which no query can say."""
    kinds = [each for each in schema.get("anyOf", ()) if each != NULL]
    if not kinds:
        return {**schema}
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**rest, **kinds[0]} if len(kinds) == 1 else {**rest, "anyOf": kinds}
