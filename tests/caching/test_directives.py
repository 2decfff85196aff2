"""Cache-Control: what is a directive, and what is not."""

from __future__ import annotations

import pytest

from gateway.caching.directives import LONGEST, delta, directives, fields_of, listed, seconds


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"max-age=3600", {b"max-age": b"3600"}),
        (b"No-StOrE, MAX-age=5", {b"no-store": None, b"max-age": b"5"}),
        (b'max-age="3600"', {b"max-age": b"3600"}),
        (b"max-age='3600'", {b"max-age": b"'3600'"}),
        (b'extension="max-age=3600", max-age=1', {b"extension": b"max-age=3600", b"max-age": b"1"}),
        (b'a="x\\"y, max-age=5", b', {b"a": b'x"y, max-age=5', b"b": None}),
        (b"max-age=1, max-age=1800", {b"max-age": b"1"}),
        (b"max-age =3600, foo", {b"foo": None}),
        (b" , ,foo , ", {b"foo": None}),
        (b"", {}),
        (b'private="x', {b"private": None}),
        (b"no-store; max-age=5", {b"no-store": None}),
        (b'no-cache="a", no-cache', {b"no-cache": None}),
        (b'no-cache, no-cache="a"', {b"no-cache": None}),
        (b'private=""', {b"private": None}),
        (b'a"b,c"d, e', {b"e": None}),
        (b"\x80, e", {b"e": None}),
    ],
)
def test_value_says(value: bytes, found: dict[bytes, bytes | None]) -> None:
    assert directives([value]) == found


def test_several_lines_are_one_list() -> None:
    assert directives([b"max-age=1", b"no-store"]) == {b"max-age": b"1", b"no-store": None}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (b"5", 5),
        (b"003600", 3600),
        (b"2147483649", LONGEST),
        (b"9" * 40, LONGEST),
        (b"-1", None),
        (b"1.5", None),
        (b" 5", None),
        (b"", None),
        (None, None),
    ],
)
def test_delta_seconds(value: bytes | None, meant: int | None) -> None:
    assert delta(value) == meant


def test_nonsense_is_no_time_at_all() -> None:
    assert seconds({b"max-age": b"a3600"}, b"max-age") == 0
    assert seconds({}, b"max-age") is None


def test_listed_names() -> None:
    assert listed(b"Set-Cookie , a,") == {b"set-cookie", b"a"}
    assert listed(None) == frozenset()


def test_fields_of_a_head() -> None:
    assert fields_of([b"A: 1", b"B:2 ", b"a: 3"]) == {b"a": [b"1", b"3"], b"b": [b"2"]}
