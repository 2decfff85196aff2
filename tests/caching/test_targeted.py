"""Targeted fields (RFC 9213): dictionaries of structured fields, whole or not at all."""

from __future__ import annotations

import pytest

from gateway.caching.targeted import dictionary, targeted


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"max-age=3600", {b"max-age": b"3600"}),
        (b"no-store", {b"no-store": None}),
        (b"no-store=?1, foo=?0", {b"no-store": None}),
        (b"foobar,\t max-age=3600 ", {b"foobar": None, b"max-age": b"3600"}),
        (b"max-age=1, max-age=2", {b"max-age": b"2"}),
        (b'max-age=1, max-age="2"', {}),
        (b'max-age="10000"', {}),
        (b"max-age=1.5", {}),
        (b"max-age=-5", {}),
        (b"max-age=1;a=b;c, no-cache", {b"max-age": b"1", b"no-cache": None}),
        (b'private="a, b"', {b"private": b"a, b"}),
        (b"private=token", {b"private": b"token"}),
        (b'a=(1 2;b "x"), b=(), c=:AQ==:, d=@16, e=%"%e2", no-store', {b"no-store": None}),
        (b"", {}),
    ],
)
def test_dictionary(value: bytes, found: dict[bytes, bytes | None]) -> None:
    assert dictionary([value]) == found


@pytest.mark.parametrize(
    "value",
    [
        b"max-age=10000, &&&&&",
        b"MaX-aGe=3600",
        b"max-age =100",
        b"max-age= 100",
        b"max-age=1,",
        b"max-age=1 foo",
        b"max-age=1;=2",
        b'a="x',
        b"a=(1",
        b'a=(1"x")',
        b"a=1.2345",
        b"a=1234567890123456",
    ],
)
def test_what_is_malformed_counts_for_nothing(value: bytes) -> None:
    assert dictionary([b"no-store", value]) == {}


def test_own_name_goes_before_the_general_one() -> None:
    fields = {b"cdn-cache-control": [b"max-age=1"], b"gateway-cache-control": [b"max-age=2"]}
    assert targeted(fields) == {b"max-age": b"2"}


def test_broken_field_leaves_it_to_the_next() -> None:
    fields = {b"gateway-cache-control": [b"&"], b"cdn-cache-control": [b"max-age=1"]}
    assert targeted(fields) == {b"max-age": b"1"}
    assert targeted({b"cache-control": [b"max-age=1"]}) is None
