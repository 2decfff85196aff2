"""What a request says about being answered from a store."""

from __future__ import annotations

import pytest

from gateway.caching.directives import LONGEST
from gateway.caching.wishes import PLAIN, Wishes, read, wishes_of
from gateway.http1.request import RequestHead


def test_most_say_nothing() -> None:
    assert read([b"Host: a", b"Cookie: a=b", b"Pragma: no-cache"]) is PLAIN


@pytest.mark.parametrize(
    ("line", "wishes"),
    [
        (b"Cache-Control: no-store", Wishes(plain=False, no_store=True)),
        (b"Cache-Control: no-cache", Wishes(plain=False, no_cache=True)),
        (b"Cache-Control: max-age=0", Wishes(plain=False, max_age=0)),
        (b"Cache-Control: max-stale", Wishes(plain=False, max_stale=LONGEST)),
        (b"Cache-Control: max-stale=5", Wishes(plain=False, max_stale=5)),
        (b"Cache-Control: min-fresh=5", Wishes(plain=False, min_fresh=5)),
        (b"Cache-Control: only-if-cached", Wishes(plain=False, only_if_cached=True)),
        (b"Cache-Control: stale-if-error=5", Wishes(plain=False, stale_if_error=5)),
        (b"Cache-Control: nothing-to-see", Wishes(plain=False)),
        (b"Authorization: x", Wishes(plain=False, authorised=True)),
        (b'If-Match: "a"', Wishes(plain=False, handed_on=True)),
        (b"If-Unmodified-Since: x", Wishes(plain=False, handed_on=True)),
        (b'If-None-Match: "a"', Wishes(plain=False, none_match=b'"a"')),
        (b"If-Modified-Since: x", Wishes(plain=False, modified_since=b"x")),
        (b"Range: bytes=0-1", Wishes(plain=False, range=b"bytes=0-1")),
        (b'If-Range: "a"', Wishes(plain=False, if_range=b'"a"')),
    ],
)
def test_field_says(line: bytes, wishes: Wishes) -> None:
    assert read([line]) == wishes


@pytest.mark.parametrize(
    ("wishes", "age", "accepted"),
    [
        (Wishes(), 9, True),
        (Wishes(), 10, False),
        (Wishes(no_cache=True), 0, False),
        (Wishes(max_age=5), 5, True),
        (Wishes(max_age=5), 6, False),
        (Wishes(min_fresh=5), 5, True),
        (Wishes(min_fresh=5), 6, False),
        (Wishes(max_stale=5), 15, True),
        (Wishes(max_stale=5), 16, False),
        (Wishes(max_stale=5, min_fresh=1), 12, False),
        (Wishes(max_stale=5, max_age=11), 12, False),
    ],
)
def test_answer_with_a_lifetime_of_ten(wishes: Wishes, age: float, accepted: bool) -> None:
    assert wishes.accept(age, 10) is accepted


def test_head_is_read_once() -> None:
    head = RequestHead(b"GET", 1, b"Range: bytes=0-1")
    first = wishes_of(head)
    assert first.range == b"bytes=0-1"
    assert wishes_of(head) is first
