from __future__ import annotations

import contextlib
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openapi.parameters import (
    LONGEST_NUMBER,
    Unreadable,
    crumbs,
    decoded,
    decoded_form,
    pairs,
    single,
)
from gateway.openapi.schemas import Shape
from tests.openapi.describing import Told, api, ask, operation, parameter

INTEGER, TEXT, ANY = {"type": "integer"}, {"type": "string"}, {}
INTEGERS = {"type": "array", "items": INTEGER}
TEXTS = {"type": "array", "items": TEXT}
COLOUR = {
    "type": "object",
    "properties": {"r": INTEGER, "name": TEXT},
    "additionalProperties": False,
}


def shape(*kinds: str) -> Shape:
    return Shape(frozenset(kinds))


@pytest.mark.parametrize(
    ("raw", "kinds", "value"),
    [
        ("5", ("integer",), 5),
        ("-5", ("integer",), -5),
        ("+5", ("integer",), "+5"),
        ("05", ("integer",), "05"),
        ("5.0", ("integer",), "5.0"),
        ("5e1", ("integer",), "5e1"),
        ("1_0", ("integer",), "1_0"),
        (" 5", ("integer",), " 5"),
        ("５", ("integer",), "５"),
        ("5", ("number",), 5),
        ("5.5", ("number",), 5.5),
        ("-1.5e-3", ("number",), -0.0015),
        ("1e999", ("number",), "1e999"),
        ("NaN", ("number",), "NaN"),
        ("Infinity", ("number",), "Infinity"),
        (".5", ("number",), ".5"),
        ("true", ("boolean",), True),
        ("false", ("boolean",), False),
        ("True", ("boolean",), "True"),
        ("1", ("boolean",), "1"),
        ("", ("integer", "null"), None),
        ("null", ("integer", "null"), "null"),
        ("5", (), "5"),
        ("5", ("string",), "5"),
        ("5", ("string", "integer"), 5),
        ("x", ("string", "integer"), "x"),
        ("9" * LONGEST_NUMBER, ("integer",), int("9" * LONGEST_NUMBER)),
        ("9" * (LONGEST_NUMBER + 1), ("integer",), "9" * (LONGEST_NUMBER + 1)),
        ("9" * 100_000, ("number",), "9" * 100_000),
    ],
)
def test_text_is_what_json_would_read(raw: str, kinds: tuple[str, ...], value: object) -> None:
    found = single(raw, shape(*kinds), True)
    assert found == value
    assert type(found) is type(value)


def test_text_stays_text_where_that_is_wanted_first() -> None:
    assert single("5", shape("string", "integer"), False) == "5"
    assert single("5", shape("integer"), False) == 5


@pytest.mark.parametrize("raw", [b"%", b"%1", b"%zz", b"a%2", b"100%"])
def test_percent_that_begins_no_byte_is_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable, match="holds a % that begins no encoded byte"):
        decoded(raw)


@pytest.mark.parametrize("raw", [b"%ff", b"\xff", b"%c3", b"%ed%a0%80", b"%c0%af"])
def test_bytes_that_are_no_text_are_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable, match="is not UTF-8"):
        decoded(raw)


def test_plus_is_a_space_in_forms_only() -> None:
    assert decoded(b"a+b%2B%20") == "a+b+ "
    assert decoded_form(b"a+b%2B%20") == "a b+ "


def test_fields_keep_their_order_and_a_name_that_is_no_text_has_none() -> None:
    found = pairs(b"a=1&&b&a=2=3&%ff=4&c%5B%5D=+")
    assert found == [("a", b"1"), ("b", b""), ("a", b"2=3"), (None, b"4"), ("c[]", b"+")]


def test_cookies_are_read_as_they_are() -> None:
    assert crumbs([b"a=1; b=x=y;c", b"a=%20"]) == [("a", b"1"), ("b", b"x=y"), ("a", b"%20")]


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    pairs(raw)
    crumbs([raw])
    with contextlib.suppress(Unreadable):
        decoded_form(raw)


def flaws(schema: Any, query: bytes, place: str = "query", **more: Any) -> list[tuple[str, str]]:
    """Where and what is wrong with q."""
    asked = operation({"parameters": [parameter(schema, **more)]})
    return [(path, message) for _, _, path, message in ask(asked, query)]


@pytest.mark.parametrize(
    ("more", "schema", "query", "may"),
    [
        ({}, INTEGER, b"q=5", True),
        ({}, INTEGER, b"%71=%35", True),
        ({}, INTEGER, b"q=x", False),
        ({}, INTEGER, b"q=", False),
        ({}, INTEGER, b"q", False),
        ({}, INTEGER, b"", True),
        ({}, INTEGER, b"Q=x", True),
        ({}, INTEGER, b"q=1&q=2", False),
        ({}, INTEGER, b"q=1&%71=2", False),
        ({}, {**INTEGER, "minimum": 10}, b"q=5", False),
        ({"required": True}, INTEGER, b"", False),
        ({"required": True}, INTEGER, b"q=1", True),
        ({"allowEmptyValue": True}, INTEGER, b"q=", True),
        ({"allowEmptyValue": True}, INTEGER, b"q=x", False),
        ({}, {"type": ["integer", "null"]}, b"q=", True),
        ({}, {"anyOf": [INTEGER, {"type": "null"}]}, b"q=x", False),
        ({}, {"anyOf": [{**INTEGER, "minimum": 10}, TEXT]}, b"q=5", True),
        ({}, {"anyOf": [{**INTEGER, "minimum": 10}, {"const": "x"}]}, b"q=5", False),
        ({}, {"enum": ["1", "2"]}, b"q=1", True),
        ({}, {"enum": [1, 2]}, b"q=1", True),
        ({}, {"enum": [1, 2]}, b"q=3", False),
        ({}, {"type": "boolean"}, b"q=true", True),
        ({}, {"type": "boolean"}, b"q=yes", False),
        ({}, {"type": "string", "maxLength": 2}, b"q=%C3%A4b", True),
        ({}, TEXT, b"q=%zz", False),
        ({}, TEXT, b"other=%zz", True),
        ({}, TEXT, b"%zz=1", True),
        ({}, INTEGERS, b"q=1&q=2", True),
        ({}, INTEGERS, b"q=1&q=x", False),
        ({}, INTEGERS, b"q=1,2", False),
        ({"explode": False}, INTEGERS, b"q=1,2", True),
        ({"explode": False}, INTEGERS, b"q=1,x", False),
        ({"explode": False}, INTEGERS, b"q=1&q=2", False),
        ({"explode": False}, {**INTEGERS, "minItems": 1}, b"q=", False),
        ({"explode": False}, {**TEXTS, "maxItems": 1}, b"q=a%2Cb", True),
        ({"style": "spaceDelimited"}, INTEGERS, b"q=1%202+3", True),
        ({"style": "pipeDelimited"}, INTEGERS, b"q=1%7c2|3%7C4", True),
        ({"style": "pipeDelimited"}, INTEGERS, b"q=1,2", False),
        ({}, {"anyOf": [INTEGER, INTEGERS]}, b"q=1", True),
        ({}, {"anyOf": [INTEGER, INTEGERS]}, b"q=1&q=2", True),
        ({}, {"anyOf": [INTEGER, INTEGERS]}, b"q=x&q=2", False),
        ({"style": "deepObject"}, COLOUR, b"q[r]=1&q%5Bname%5D=x", True),
        ({"style": "deepObject"}, COLOUR, b"q[r]=x", False),
        ({"style": "deepObject"}, COLOUR, b"q[r]=1&q[r]=2", False),
        ({"style": "deepObject"}, COLOUR, b"q[other]=1", False),
        ({"style": "deepObject"}, COLOUR, b"q[r][x]=1", False),
        ({"style": "deepObject"}, COLOUR, b"r=x", True),
        ({"style": "deepObject", "required": True}, COLOUR, b"q=1", False),
        ({}, COLOUR, b"r=1&name=2&other=x", True),
        ({}, COLOUR, b"r=x", False),
        ({}, COLOUR, b"r=1&r=2", False),
        ({"explode": False}, COLOUR, b"q=r,1,name,x", True),
        ({"explode": False}, COLOUR, b"q=r,x", False),
        ({"explode": False}, COLOUR, b"q=r", False),
        ({"explode": False}, COLOUR, b"q=r,1,r,2", False),
        ({"explode": False}, {**COLOUR, "minProperties": 1}, b"q=", False),
    ],
)
def test_query_parameter(more: Any, schema: Any, query: bytes, may: bool) -> None:
    assert (flaws(schema, query, **more) == []) is may


def test_json_parameter() -> None:
    content = {"application/json": {"schema": {"type": "object", "required": ["a"]}}}
    asked = operation({"parameters": [{"name": "q", "in": "query", "content": content}]})
    assert ask(asked, b"q=%7B%22a%22:1%7D") == []
    assert ask(asked, b"q=%7B%7D") == [("query", "q", "", "a is missing")]
    assert ask(asked, b"q=%7B") == [("query", "q", "", "is no JSON, or nested too deeply")]


def test_flaws_say_where_in_a_value() -> None:
    assert flaws(INTEGERS, b"q=1&q=x&q=y") == [
        ("/1", "expected integer"),
        ("/2", "expected integer"),
    ]
    assert flaws(COLOUR, b"q[r]=x", style="deepObject") == [("/r", "expected integer")]


def test_many_items_are_told_of_once() -> None:
    assert flaws(INTEGERS, b"q=x&" * 5000) == [("/0", "expected integer")]
    assert len(flaws(INTEGERS, b"q=x&" * 50)) == 10


@pytest.mark.parametrize(
    ("schema", "more", "lines", "may"),
    [
        (INTEGER, {}, [b"X-Q: 5"], True),
        (INTEGER, {}, [b"x-q:5\t"], True),
        (INTEGER, {}, [b"X-Q: x"], False),
        (INTEGER, {}, [b"X-Q: 5", b"x-q: 6"], False),
        (INTEGER, {}, [b"X-Q: 5", b"X_Q: 6"], False),
        (INTEGER, {}, [], True),
        (INTEGER, {"required": True}, [b"X-Other: 1"], False),
        (TEXT, {}, [b"X-Q: \xff"], False),
        ({**TEXT, "maxLength": 4}, {}, [b"X-Q: %20a"], True),
        (INTEGERS, {}, [b"X-Q: 1, 2,3"], True),
        (INTEGERS, {}, [b"X-Q: 1", b"X-Q: 2"], True),
        (INTEGERS, {}, [b"X-Q: 1, x"], False),
        (COLOUR, {}, [b"X-Q: r,1,name,x"], True),
        (COLOUR, {"explode": True}, [b"X-Q: r=1, name=x"], True),
        (COLOUR, {"explode": True}, [b"X-Q: r=x"], False),
    ],
)
def test_header_parameter(schema: Any, more: Any, lines: list[bytes], may: bool) -> None:
    asked = operation({"parameters": [parameter(schema, "header", "X-Q", **more)]})
    assert (ask(asked, lines=lines) == []) is may


@pytest.mark.parametrize("name", ["Accept", "content-type", "AUTHORIZATION"])
def test_fields_that_other_parts_describe_are_left_alone(name: str) -> None:
    asked = operation({"parameters": [parameter(INTEGER, "header", name, required=True)]})
    assert ask(asked) == []


@pytest.mark.parametrize(
    ("schema", "more", "lines", "may"),
    [
        (INTEGER, {}, [b"Cookie: q=5; other=x"], True),
        (INTEGER, {}, [b"Cookie: other=1", b"cookie: q=x"], False),
        (INTEGER, {}, [b"Cookie: q=1; q=2"], False),
        (INTEGER, {"required": True}, [b"Cookie: p=1"], False),
        (INTEGER, {"required": True}, [], False),
        (INTEGERS, {"explode": False}, [b"Cookie: q=1,2"], True),
    ],
)
def test_cookie_parameter(schema: Any, more: Any, lines: list[bytes], may: bool) -> None:
    asked = operation({"parameters": [parameter(schema, "cookie", **more)]})
    assert (ask(asked, lines=lines) == []) is may


def in_path(schema: Any, raw: bytes, **more: Any) -> list[Told]:
    described = parameter(schema, "path", required=True, **more)
    found = api({"/x/{q}": {"get": {"parameters": [described]}}}).match(b"/x/" + raw)
    assert found is not None
    item, values = found
    return ask(item.operations[b"GET"], path=values)


@pytest.mark.parametrize(
    ("schema", "more", "raw", "may"),
    [
        (INTEGER, {}, b"5", True),
        (INTEGER, {}, b"%35", True),
        (INTEGER, {}, b"5%20", False),
        (INTEGER, {}, b"%zz", False),
        (INTEGER, {}, b"%ff", False),
        ({**TEXT, "maxLength": 3}, {}, b"a+b", True),
        (TEXT, {}, b"a%2Fb", True),
        (INTEGERS, {}, b"1,2", True),
        (INTEGERS, {}, b"1,x", False),
        ({**TEXTS, "maxItems": 1}, {}, b"a%2Cb", True),
        (COLOUR, {}, b"r,1", True),
        (COLOUR, {"explode": True}, b"r=1,name=x", True),
        (COLOUR, {"explode": True}, b"r=x", False),
    ],
)
def test_path_parameter(schema: Any, more: Any, raw: bytes, may: bool) -> None:
    assert (in_path(schema, raw, **more) == []) is may


@given(st.integers(-(10**18), 10**18), st.integers(-100, 100), st.integers(-100, 100))
def test_number_in_a_query_is_the_number(value: int, least: int, most: int) -> None:
    schema = {"type": "integer", "minimum": least, "maximum": most}
    assert (flaws(schema, b"q=%d" % value) == []) is (least <= value <= most)


@given(st.lists(st.text(max_size=5), max_size=4), st.sampled_from(["form", "pipeDelimited"]))
def test_text_of_any_kind_arrives_as_it_was_written(values: list[str], style: str) -> None:
    schema = {"type": "array", "items": TEXT, "const": values}
    if values in ([], [""]) or (style != "form" and "|" in "".join(values)):
        return  # it cannot be written
    encoded = [quote(value, safe="") for value in values]
    query = "q=" + ("&q=" if style == "form" else "|").join(encoded)
    assert flaws(schema, query.encode(), style=style, explode=style == "form") == []
