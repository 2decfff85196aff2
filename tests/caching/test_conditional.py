"""Conditions of a request, against what is stored."""

from __future__ import annotations

import pytest

from gateway.caching import conditional
from gateway.caching.wishes import Wishes

OLD = b"Sun, 06 Nov 1994 07:49:37 GMT"
NEW = b"Sun, 06 Nov 1994 08:49:37 GMT"
AT_NEW = 784111777


@pytest.mark.parametrize(
    ("asked", "etag", "same"),
    [
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'"x", "a" ,"y"', b'"a"', True),
        (b'"x","a,b"', b'"a,b"', True),
        (b"*", b'"a"', True),
        (b"a", b"a", True),
        (b'"b"', b'"a"', False),
        (b"a", b'"a"', False),
        (b'w/"a"', b'"b"', False),
        (b'"\xfc"', b'"\xfc"', True),
    ],
)
def test_entity_tags(asked: bytes, etag: bytes, same: bool) -> None:
    assert conditional.matches(asked, etag) is same


@pytest.mark.parametrize(
    ("wishes", "etag", "changed", "unchanged"),
    [
        (Wishes(none_match=b'"a"'), b'"a"', None, True),
        (Wishes(none_match=b'"a"', modified_since=OLD), b'"a"', NEW, True),
        (Wishes(none_match=b'"b"', modified_since=NEW), b'"a"', OLD, False),
        (Wishes(none_match=b'"a"'), None, NEW, False),
        (Wishes(modified_since=NEW), None, OLD, True),
        (Wishes(modified_since=NEW), None, NEW, True),
        (Wishes(modified_since=OLD), None, NEW, False),
        (Wishes(modified_since=NEW), None, None, True),
        (Wishes(modified_since=OLD), None, None, False),
        (Wishes(modified_since=NEW), None, b"nonsense", True),
        (Wishes(modified_since=b"nonsense"), None, OLD, False),
        (Wishes(), b'"a"', OLD, False),
    ],
)
def test_client_has_it_already(
    wishes: Wishes, etag: bytes | None, changed: bytes | None, unchanged: bool
) -> None:
    assert conditional.unchanged(wishes, etag, changed, AT_NEW) is unchanged


@pytest.mark.parametrize(
    ("if_range", "etag", "changed", "same"),
    [
        (b'"a"', b'"a"', None, True),
        (b'W/"a"', b'W/"a"', None, False),
        (b'"a"', b'"b"', None, False),
        (b'"a"', None, OLD, False),
        (OLD, None, OLD, True),
        (NEW, None, OLD, False),
        (OLD, b'"a"', None, False),
    ],
)
def test_range_of_the_same_version(
    if_range: bytes, etag: bytes | None, changed: bytes | None, same: bool
) -> None:
    assert conditional.same_version(if_range, etag, changed) is same


def test_304_has_no_fields_of_the_body() -> None:
    lines = [b"ETag: x", b"Content-Type: a", b"Content-Length: 5", b"Content-Location: /a"]
    assert conditional.without_body_fields(lines) == [b"ETag: x", b"Content-Location: /a"]


def test_origin_is_asked_with_all_that_is_known() -> None:
    both = (b'If-None-Match: "a"', b"If-Modified-Since: " + OLD)
    assert conditional.asking(b'"a"', OLD) == both
    assert conditional.asking(None, None) == ()
