from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openapi.bodies import MOST_DEPTH, MOST_DIGITS, parsed, too_deep, weight
from gateway.openapi.parameters import Unreadable
from tests.openapi.describing import FORM, JSON, ask, takes

ORDER = {
    "type": "object",
    "required": ["item"],
    "additionalProperties": False,
    "properties": {
        "item": {"type": "string", "minLength": 1},
        "quantity": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "integer"}},
    },
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_json_is_read_as_it_was_written(value: Any, as_ascii: bool) -> None:
    assert parsed(json.dumps(value, ensure_ascii=as_ascii).encode()) == value


@given(
    st.binary(max_size=60) | st.text(alphabet='[]{}",:\\01aeu d8-.+', max_size=40).map(str.encode)
)
def test_what_is_read_is_what_a_strict_parser_reads(data: bytes) -> None:
    try:
        value = parsed(data)
    except Unreadable:
        return
    assert orjson.loads(data) == value


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no JSON: line 1, column 1"),
        (b'{"a": 1}x', "is no JSON: line 1, column 9"),
        (b'{"a":\n 01}', "is no JSON: line 2, column 3"),
        (b"[1,]", "is no JSON: line 1, column 4"),
        (b"{'a': 1}", "is no JSON: line 1, column 2"),
        (b"NaN", "is no JSON"),
        (b"[-Infinity]", "is no JSON"),
        (b'"\n"', "is no JSON: line 1, column 2"),
        (b'"\\x"', "is no JSON: line 1, column 2"),
        (b'"\\ud800"', "is no JSON"),
        (b'"\\udc00\\ud800"', "is no JSON"),
        (b"\xef\xbb\xbf{}", "is no JSON: line 1, column 1"),
        (b"{}\x00", "is no JSON: line 1, column 3"),
        ('{"ä": 1}'.encode("utf-16"), "is not UTF-8"),
        ('{"ä": 1}'.encode("latin-1"), "is not UTF-8"),
        (b'"\xed\xa0\x80"', "is not UTF-8"),
        (b'{"a": 1, "b": {}, "a": 1}', "holds a member twice"),
        (b'[{"a": {"x": 1, "\\u0078": 2}}]', "holds a member twice"),
        (b"1" * (MOST_DIGITS + 1), "holds a number that is too large or too long"),
        (b"1" * 5000, "holds a number that is too large or too long"),
        (b"1e999", "holds a number that is too large or too long"),
        (b"-1e999", "holds a number that is too large or too long"),
        (b"0." + b"1" * MOST_DIGITS, "holds a number that is too large or too long"),
        (b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1), "is no JSON, or nested too deeply"),
        (b'{"a":' * 100_000, "is no JSON, or nested too deeply"),
        (b"[" * 1_000_000, "is no JSON, or nested too deeply"),
    ],
)
def test_body_that_two_could_read_differently_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(Unreadable) as raised:
        parsed(data)
    assert str(raised.value) == told


@pytest.mark.parametrize(
    "data",
    [
        b"[" * MOST_DEPTH + b"]" * MOST_DEPTH,
        b"[" + b"[]," * 1000 + b"{}]",
        b'["' + b"[" * 1000 + b'"]',
        b'["\\"[[[[\\\\", "]", "\\\\\\"", []]',
        b'"\\ud83d\\ude00"',
        b" \t\r\n1e3 ",
        b"1" * MOST_DIGITS,
    ],
)
def test_what_only_looks_odd_is_read(data: bytes) -> None:
    assert parsed(data) == json.loads(data)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return 0
    return 1 + max(map(depth_of, value), default=0)


BRACKETS = st.recursive(
    st.text(alphabet='[]{}"\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{"\\'), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(BRACKETS, st.integers(MOST_DEPTH - 6, MOST_DEPTH))
def test_depth_is_exact_whatever_strings_hold(value: Any, around: int) -> None:
    for _ in range(around):
        value = [value]
    assert too_deep(json.dumps(value).encode()) is (depth_of(value) > MOST_DEPTH)


def test_brackets_in_strings_cannot_hide_depth() -> None:
    assert too_deep(b'["]",' * 100 + b"1" + b"]" * 100)


def test_weight_is_about_the_number_of_values() -> None:
    assert weight(b"1") == 1
    assert weight(b'{"a":[1,2,3],"b":{}}') >= 6


NUMBERED = [("body", "", f"/tags/{number}", "expected integer") for number in range(1500)]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"item":"tea","quantity":1}', []),
        (b'{"item":""}', [("body", "", "/item", "needs at least 1 character")]),
        (b"{}", [("body", "", "", "item is missing")]),
        (b"[]", [("body", "", "", "expected object")]),
        (b"{", [("body", "", "", "is no JSON, or nested too deeply")]),
        (b'{"item":"x","tags":["x","y"]}', NUMBERED[:2]),
        (b'{"item":"x","tags":[' + b'"x",' * 50 + b"1]}", NUMBERED[:10]),
        (b'{"item":"x","tags":[' + b'"x",' * 1500 + b"1]}", NUMBERED[:1]),
    ],
)
def test_json_body(body: bytes, told: object) -> None:
    assert ask(takes(ORDER), lines=JSON, body=body) == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"item=tea&quantity=2&tags=1&tags=2", []),
        (b"item=green+tea%21", []),
        (b"quantity=2", [("", "item is missing")]),
        (b"item=a&quantity=x", [("/quantity", "expected integer")]),
        (b"item=a&tags=1&tags=x", [("/tags/1", "expected integer")]),
        (b"item=a&item=b", [("/item", "stands here more than once")]),
        (b"item=%zz&tags=%ff", [
            ("/item", "holds a % that begins no encoded byte"), ("/tags", "is not UTF-8"),
        ]),
        (b"item=a&%ff=1", [("", "holds a name that is no text")]),
        (b"item=a&other=1", [("", "holds what is not described: other")]),
    ],
)  # fmt: skip
def test_form_body(body: bytes, told: list[tuple[str, str]]) -> None:
    asked = takes(ORDER, "application/x-www-form-urlencoded")
    assert ask(asked, lines=FORM, body=body) == [("body", "", *flaw) for flaw in told]


SCHEMA = {
    "type": ["object", "array", "number"],
    "minimum": 0,
    "maxItems": 2,
    "items": {"type": ["string", "boolean", "null"], "maxLength": 3},
    "additionalProperties": {"type": ["integer", "array"]},
    "maxProperties": 2,
}
KNOWN = takes(SCHEMA)
JUDGE = jsonschema_rs.Draft202012Validator(SCHEMA)


@given(VALUES)
def test_body_is_judged_as_its_schema_judges(value: Any) -> None:
    assert (ask(KNOWN, lines=JSON, body=json.dumps(value).encode()) == []) is JUDGE.is_valid(value)
