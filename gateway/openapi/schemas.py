"""Schemas of a document as JSON Schema 2020-12, as far as they say what a request may be.

Each schema that is used, and each that one of them refers to, gets a place in one pool, under
`$defs`; references lead there. So a schema that holds itself stays finite: a reference is followed
only as far as a value goes. What only describes (titles, examples) is left out, and so is what is
meant for answers: a `readOnly` member need not be there.

OpenAPI 3.0 has a dialect of its own: `nullable: true` lets null pass, whatever else stands
there; `exclusiveMinimum: true` speaks of `minimum`; what stands beside a `$ref` does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.openapi.document import (
    DIALECTS,
    MOST_DEPTH,
    Document,
    DocumentError,
    Where,
    mapping,
    pointer,
    target,
)

MOST_SCHEMAS: Final = 100_000  # YAML can name one thing often: a short file could grow without end

PLAIN: Final = frozenset(
    (
        "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum",
        "exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems",
        "uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties", "required",
        "dependentRequired", "format",
    )
)  # fmt: skip
SINGLE: Final = frozenset(
    (
        "additionalProperties", "items", "not", "if", "then", "else", "contains", "propertyNames",
        "unevaluatedItems", "unevaluatedProperties",
    )
)  # fmt: skip
LISTS: Final = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
MAPS: Final = frozenset(("properties", "patternProperties", "dependentSchemas"))
# They change what a reference means: rare, and to ignore them would be to check something else.
REFUSED: Final = ("$id", "$dynamicRef", "$recursiveRef")
BOUNDS: Final = {"int32": 2**31, "int64": 2**63}

Schema = dict[str, Any] | bool


class Pool:
    """The schemas of one document that are used, by where they stand."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.found: dict[str, Schema] = {}
        self.places: dict[str, Where] = {}
        self._count = 0
        self._waiting: list[Where] = []

    def add(self, where: Where) -> str:
        """Take the schema that stands there, and all that it refers to; gives its name."""
        name = self._name(where)
        while self._waiting:
            place = self._waiting.pop()
            value = self.document.at(place, place)
            self.found[self._name(place)] = self._converted(value, place)
        return name

    def _name(self, where: Where) -> str:
        """A name without anything that a pointer or a URI would need to escape."""
        name = pointer(where).encode().hex()
        if name not in self.places:
            self.places[name] = where
            self._waiting.append(where)
        return name

    def _converted(self, schema: object, where: Where) -> Schema:
        self._count += 1
        if self._count > MOST_SCHEMAS or len(where) > MOST_DEPTH:
            raise DocumentError(where, "there are too many schemas, or too deep ones")
        if isinstance(schema, bool):
            return schema
        schema = mapping(schema, where)
        for key in REFUSED:
            if key in schema:
                raise DocumentError((*where, key), "is not supported")
        if schema.get("$schema", DIALECTS[0]) not in DIALECTS:
            raise DocumentError((*where, "$schema"), f"only {DIALECTS[0]} is understood")
        old = self.document.version == "3.0"
        made: dict[str, Any] = {}
        if "$ref" in schema:
            place = target(schema["$ref"], (*where, "$ref"))
            self.document.at(place, (*where, "$ref"))
            made["$ref"] = f"#/$defs/{self._name(place)}"
            if old:
                return made
        for key, value in schema.items():
            below = (*where, key)
            if key in PLAIN:
                made[key] = value
            elif key in SINGLE:
                made[key] = self._converted(value, below)
            elif key in LISTS:
                made[key] = self._list(value, below)
            elif key in MAPS:
                made[key] = {
                    name: self._converted(each, (*below, name))
                    for name, each in mapping(value, below).items()
                }
        self._unrequire(made, schema, where)
        bound(made)
        return revised(made, schema) if old else made

    def _list(self, value: object, where: Where) -> list[Schema]:
        if not isinstance(value, list):
            raise DocumentError(where, "expected a list")
        return [self._converted(each, (*where, str(n))) for n, each in enumerate(value)]

    def _unrequire(self, made: dict[str, Any], schema: Mapping[str, Any], where: Where) -> None:
        """An answer's members need not be in a request (OpenAPI 3.0.4, 4.7.24.2.1)."""
        required, members = schema.get("required"), schema.get("properties")
        if not isinstance(required, list) or not isinstance(members, dict):
            return
        place = (*where, "properties")
        made["required"] = [
            name
            for name in required
            if not (name in members and self._read_only(members[name], (*place, str(name))))
        ]

    def _read_only(self, schema: object, where: Where) -> bool:
        if not isinstance(schema, dict):
            return False
        if self.document.version != "3.0" and schema.get("readOnly") is True:
            return True
        return self.document.follow(schema, where)[0].get("readOnly") is True


def bound(made: dict[str, Any]) -> None:
    """Have `int32` and `int64` bound a number: a format alone does not."""
    limit = BOUNDS.get(str(made.get("format")))
    if limit is not None:
        made.setdefault("minimum", -limit)
        made.setdefault("maximum", limit - 1)


def revised(made: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI 3.0 says in its own way."""
    for name in ("minimum", "maximum"):
        exclusive = f"exclusive{name.capitalize()}"
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive) and name in made:
            made[exclusive] = made.pop(name)
    if schema.get("nullable") is not True:
        return made
    kind = made.get("type")
    if isinstance(kind, str) and "enum" not in made and not LISTS & made.keys():
        return {**made, "type": [kind, "null"]}
    return {"anyOf": [made, {"type": "null"}]}


SINGLES: Final = frozenset(("string", "integer", "number", "boolean"))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value may look like, as far as it helps to read one from text."""

    kinds: frozenset[str] = frozenset()  # types of JSON; none: nothing is known
    items: Shape | None = None
    members: Mapping[str, Shape] = field(default_factory=dict)
    listed: bool = field(init=False)  # a list, and nothing that a single text could be
    mapped: bool = field(init=False)  # likewise an object

    def __post_init__(self) -> None:
        single = not SINGLES.isdisjoint(self.kinds)
        object.__setattr__(self, "listed", "array" in self.kinds and not single)
        object.__setattr__(self, "mapped", "object" in self.kinds and not single)

    def takes_list(self, number: int) -> bool:
        """Whether so many texts are a list of it."""
        return self.listed or (number > 1 and "array" in self.kinds)


TEXT: Final = Shape(frozenset(("string",)))
MOST_SHAPES: Final = 6  # levels that are looked into: no style can write more of them
TYPES: Final[Mapping[type, str]] = {
    str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null",
    list: "array", dict: "object",
}  # fmt: skip


def shape_of(pool: Pool, schema: Schema, depth: int = 0) -> Shape:
    """The shape of a schema of the pool."""
    if isinstance(schema, bool) or depth > MOST_SHAPES:
        return Shape()
    depth += 1
    parts = [
        shape_of(pool, each, depth)
        for key in ("allOf", "anyOf", "oneOf")
        for each in schema.get(key, ())
    ]
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        parts.append(shape_of(pool, pool.found[name], depth))
    kind = schema.get("type", ())
    kinds = frozenset((kind,) if isinstance(kind, str) else kind)
    if not kinds and ("enum" in schema or "const" in schema):
        values = schema["enum"] if "enum" in schema else [schema["const"]]
        kinds = frozenset(TYPES[type(value)] for value in values)
    if not kinds:
        kinds = frozenset().union(*(part.kinds for part in parts))
    items = next((part.items for part in parts if part.items is not None), None)
    if "items" in schema:
        items = shape_of(pool, schema["items"], depth)
    members: dict[str, Shape] = {}
    for part in parts:
        members |= part.members
    for name, each in schema.get("properties", {}).items():
        members[name] = shape_of(pool, each, depth)
    return Shape(kinds, items, members)
