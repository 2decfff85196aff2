"""What becomes of schemas: by what fits them, which is what they are for."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openapi import schemas
from gateway.openapi.checks import SEARCHED, Checks
from gateway.openapi.document import Document, DocumentError
from gateway.openapi.schemas import Pool, shape_of
from tests.openapi.describing import api, document, fits

NEW, OLD = "3.1.0", "3.0.3"


@pytest.mark.parametrize(
    ("version", "schema", "value", "may"),
    [
        (OLD, {"type": "string", "nullable": True}, b"null", True),
        (OLD, {"type": "string", "nullable": False}, b"null", False),
        (OLD, {"type": "string", "nullable": True}, b"1", False),
        (OLD, {"type": "string", "nullable": True, "enum": ["a"]}, b"null", True),
        (OLD, {"type": "string", "nullable": True, "enum": ["a"]}, b'"b"', False),
        (OLD, {"nullable": True, "allOf": [{"type": "integer"}]}, b"null", True),
        (OLD, {"nullable": True, "allOf": [{"type": "integer"}]}, b'"a"', False),
        (OLD, {"minimum": 1, "exclusiveMinimum": True}, b"1", False),
        (OLD, {"minimum": 1, "exclusiveMinimum": True}, b"1.1", True),
        (OLD, {"minimum": 1, "exclusiveMinimum": False}, b"1", True),
        (OLD, {"maximum": 1, "exclusiveMaximum": True}, b"1", False),
        (OLD, {"maximum": 1, "exclusiveMaximum": True}, b"0", True),
        (OLD, {"exclusiveMaximum": True}, b"5", True),
        (NEW, {"exclusiveMinimum": 1}, b"1", False),
        (NEW, {"type": ["string", "null"]}, b"null", True),
        (NEW, {"const": 5}, b"6", False),
        (NEW, {"type": "string", "nullable": True}, b"null", False),
        (NEW, True, b"1", True),
        (NEW, False, b"1", False),
        (NEW, {"type": "integer", "format": "int32"}, b"2147483647", True),
        (NEW, {"type": "integer", "format": "int32"}, b"2147483648", False),
        (NEW, {"type": "integer", "format": "int64"}, b"-9223372036854775808", True),
        (NEW, {"type": "integer", "format": "int64"}, b"9223372036854775808", False),
        (NEW, {"type": "integer", "format": "int32", "maximum": 5}, b"6", False),
        (NEW, {"type": "integer", "format": "int32", "maximum": 5}, b"-2147483649", False),
        (NEW, {"format": "date-time"}, b'"2026-01-31T00:00:00Z"', True),
        (NEW, {"format": "date-time"}, b'"2026-02-31T00:00:00Z"', False),
        (NEW, {"format": "nobody-knows"}, b'"x"', True),
        (NEW, {"title": 5, "example": {"$ref": "x"}, "x-mine": 1}, b"1", True),
        (NEW, {"properties": {"title": {"type": "string"}}}, b'{"title":1}', False),
        (NEW, {"patternProperties": {"^a": {"type": "string"}}}, b'{"ab":1}', False),
        (NEW, {"dependentRequired": {"a": ["b"]}}, b'{"a":1}', False),
        (NEW, {"prefixItems": [{"type": "string"}]}, b"[1]", False),
        (NEW, {"if": {"type": "string"}, "then": False}, b'"x"', False),
        (NEW, {"unevaluatedProperties": False, "properties": {"a": True}}, b'{"b":1}', False),
        (NEW, {"required": ["a"], "properties": {"a": {"readOnly": True}}}, b"{}", True),
        (NEW, {"required": ["a"], "properties": {"a": {"writeOnly": True}}}, b"{}", False),
        (NEW, {"required": ["a", "b"], "properties": {"a": True}}, b'{"a":1}', False),
    ],
)  # fmt: skip
def test_schema_means_what_its_version_says(
    version: str, schema: Any, value: bytes, may: bool
) -> None:
    assert fits(schema, value, version) is may


COMPONENTS = {
    "components": {
        "schemas": {
            "Node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/components/schemas/Node"}, "n": {"minimum": 1}},
            },
            "Ring": {"$ref": "#/components/schemas/Other"},
            "Other": {"allOf": [{"$ref": "#/components/schemas/Ring"}, {"type": "string"}]},
            "Given": {"type": "integer", "readOnly": True},
            "a b/c": {"type": "boolean"},
        }
    }
}


@pytest.mark.parametrize(
    ("schema", "value", "may"),
    [
        ({"$ref": "#/components/schemas/Node"}, b'{"next":{"next":{"n":1}}}', True),
        ({"$ref": "#/components/schemas/Node"}, b'{"next":{"next":{"n":0}}}', False),
        ({"$ref": "#/components/schemas/Node/properties/n"}, b"0", False),
        ({"$ref": "#/components/schemas/Ring"}, b'"a"', True),
        ({"$ref": "#/components/schemas/Ring"}, b"1", False),
        ({"$ref": "#/components/schemas/a%20b~1c"}, b"1", False),
        ({"$ref": "#/components/schemas/a%20b~1c"}, b"true", True),
    ],
)
@pytest.mark.parametrize("version", [NEW, OLD])
def test_references_are_followed_as_far_as_a_value_goes(
    schema: Any, value: bytes, may: bool, version: str
) -> None:
    assert fits(schema, value, version, **COMPONENTS) is may


@pytest.mark.parametrize(("version", "may"), [(NEW, False), (OLD, True)])
def test_what_stands_beside_a_reference_counts_in_31_only(version: str, may: bool) -> None:
    schema = {"$ref": "#/components/schemas/Node", "maxProperties": 0}
    assert fits(schema, b'{"n":1}', version, **COMPONENTS) is may


@pytest.mark.parametrize("version", [NEW, OLD])
def test_read_only_member_behind_a_reference_need_not_be_sent(version: str) -> None:
    member = {"$ref": "#/components/schemas/Given"}
    schema = {"required": ["a"], "properties": {"a": member}}
    assert fits(schema, b"{}", version, **COMPONENTS)
    assert not fits(schema, b'{"a":"x"}', version, **COMPONENTS)


def test_read_only_beside_a_reference_counts_in_31() -> None:
    member = {"$ref": "#/components/schemas/Node", "readOnly": True}
    schema = {"required": ["a"], "properties": {"a": member}}
    assert fits(schema, b"{}", NEW, **COMPONENTS)
    assert not fits(schema, b"{}", OLD, **COMPONENTS)


HERE = "#/paths/~1x/get/requestBody/content/application~1json/schema"


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"$id": "http://a/b"}, "/$id: is not supported"),
        ({"properties": {"a": {"$dynamicRef": "#x"}}}, "/properties/a/$dynamicRef: is not support"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema: only https://"),
        ({"$ref": "b.yaml"}, "/$ref: only references within the document are followed"),
        ({"$ref": "#/none"}, "/$ref: there is nothing at #/none"),
        ({"allOf": {}}, "/allOf: expected a list"),
        ({"allOf": [1]}, "/allOf/0: expected a mapping"),
        ({"properties": []}, "/properties: expected a mapping"),
        ({"properties": {"a": 7}, "required": ["a"]}, "/properties/a: expected a mapping"),
        ({"items": "x"}, "/items: expected a mapping"),
        ({"type": "strin"}, "/type: is no schema: has none of the forms"),
        ({"minLength": -1}, "/minLength: is no schema: has to be at least 0"),
        ({"required": ["a", 5]}, "/required/1: is no schema: expected string"),
        ({"properties": {"a/b": {"pattern": "("}}}, "/properties/a~1b/pattern: is no schema"),
    ],
)  # fmt: skip
def test_schema_that_cannot_be_used_is_told_with_its_place(schema: Any, told: str) -> None:
    body = {"content": {"application/json": {"schema": schema}}}
    with pytest.raises(DocumentError) as raised:
        api({"/x": {"get": {"requestBody": body}}})
    assert str(raised.value).startswith(HERE + told)


def test_schema_that_nobody_uses_may_be_anything() -> None:
    api({}, components={"schemas": {"Odd": {"type": "strin", "$ref": "http://a/"}}})


def test_schemas_that_grow_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "MOST_SCHEMAS", 1000)
    grown: dict[str, Any] = {"type": "string"}
    for _ in range(20):
        grown = {"properties": {"a": grown, "b": grown}}  # as YAML's aliases make it
    pool = Pool(Document({"openapi": "3.1.0", "s": grown}))
    with pytest.raises(DocumentError, match="there are too many schemas, or too deep ones"):
        pool.add(("s",))


def test_value_that_fits_has_no_flaws() -> None:
    checks = Checks(Pool(document({}, s={"type": "integer"})))
    check = checks.check(("s",))
    checks.compile()
    assert check.flaws(1) == check.flaws(1, size=SEARCHED + 1) == []


# Random schemas: what was made of them judges as they themselves do.

NAMES = st.sampled_from(["a", "b", "title", "x-y", "$ref", "required"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "ab", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "integer", "number", "object", "array", "boolean", "null"])
PLAIN = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "minimum": st.integers(-3, 3),
        "exclusiveMaximum": st.integers(-3, 3),
        "maxLength": st.integers(0, 2),
        "pattern": st.sampled_from(["^a", "b$", "^$"]),
        "uniqueItems": st.booleans(),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "minProperties": st.integers(0, 2),
        "title": st.just("t"),
        "example": VALUES,
    },
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(NAMES, inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=2)
    more = st.fixed_dictionaries(
        {},
        optional={
            "properties": named, "items": inner, "additionalProperties": inner, "not": inner,
            "allOf": several, "anyOf": several, "oneOf": several, "prefixItems": several,
            "if": inner, "then": inner, "else": inner, "contains": inner, "propertyNames": inner,
            "dependentSchemas": named,
        },
    )  # fmt: skip
    return st.tuples(PLAIN, more).map(lambda both: {**both[0], **both[1]})


SCHEMAS = st.recursive(PLAIN | st.booleans(), _nested, max_leaves=5)


@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=5))
def test_schema_of_the_pool_judges_as_the_one_it_was_made_of(
    schema: Any, values: list[Any]
) -> None:
    pool = Pool(Document({"openapi": "3.1.0", "s": schema}))
    name = pool.add(("s",))
    made = jsonschema_rs.Draft202012Validator({"$defs": pool.found, "$ref": f"#/$defs/{name}"})
    itself = jsonschema_rs.Draft202012Validator(schema)
    for value in values:
        assert made.is_valid(value) is itself.is_valid(value)


@given(SCHEMAS, VALUES)
def test_parameters_of_any_schema_can_be_read(schema: Any, value: Any) -> None:
    pool = Pool(document({}, s=schema))
    name = pool.add(("s",))
    shape_of(pool, pool.found[name])


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({"type": "string"}, {"string"}),
        ({"enum": [1, "a", None]}, {"integer", "string", "null"}),
        ({"const": True}, {"boolean"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"$ref": "#/s/$defs/n", "$defs": {"n": {"type": "number"}}}, {"number"}),
        ({"allOf": [{"minimum": 1}, {"type": "integer"}]}, {"integer"}),
        ({}, set()),
        (True, set()),
    ],
)
def test_shape_knows_the_types(schema: Any, kinds: set[str]) -> None:
    pool = Pool(document({}, s=schema))
    assert shape_of(pool, pool.found[pool.add(("s",))]).kinds == kinds


def test_shape_of_a_schema_that_holds_itself_ends() -> None:
    pool = Pool(document({}, s={"type": "array", "items": {"$ref": "#/s"}}))
    shape = shape_of(pool, pool.found[pool.add(("s",))])
    depth = 0
    while shape.items is not None:
        shape, depth = shape.items, depth + 1
    assert 1 < depth <= schemas.MOST_SHAPES
