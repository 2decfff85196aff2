"""What may be kept, and how long it is good."""

from __future__ import annotations

import pytest

from gateway.caching.directives import fields_of
from gateway.caching.freshness import Terms, terms

NOW = 784111777.0
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"
HOUR_AGO = b"Sun, 06 Nov 1994 07:49:37 GMT"
IN_AN_HOUR = b"Sun, 06 Nov 1994 09:49:37 GMT"


def judged(
    *lines: bytes,
    status: int = 200,
    authorised: bool = False,
    ttl: float = 0,
    took: float = 0,
    cookies: bool = False,
) -> Terms | None:
    return terms(
        status,
        fields_of((DATE, *lines)),
        authorised=authorised,
        ttl=ttl,
        asked_at=NOW - took,
        now=NOW,
        cookies=cookies,
    )


def lifetime(*lines: bytes, status: int = 200, ttl: float = 0) -> float | None:
    found = judged(*lines, status=status, ttl=ttl)
    return None if found is None else found.lifetime


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((b"Cache-Control: max-age=60",), 60),
        ((b"Cache-Control: max-age=60, s-maxage=5",), 5),
        ((b"Cache-Control: max-age=60", b"Expires: " + HOUR_AGO), 60),
        ((b"Expires: " + IN_AN_HOUR,), 3600),
        ((b"Expires: " + IN_AN_HOUR, b"Expires: 0"), 3600),
        ((b"Last-Modified: " + HOUR_AGO,), 360),
        ((b"Last-Modified: Sun, 06 Nov 1900 07:49:37 GMT",), 86400),
        ((b"Cache-Control: max-age=1", b"CDN-Cache-Control: max-age=9"), 9),
        ((b"Cache-Control: no-store", b"CDN-Cache-Control: max-age=9"), 9),
        ((b"Cache-Control: no-store", b"CDN-Cache-Control: max-age=9, &"), None),
        ((b"Cache-Control: no-store, must-understand, max-age=7",), 7),
        ((b"Cache-Control: no-store, max-age=7",), None),
        ((b"Cache-Control: private, max-age=7",), None),
        ((b'Cache-Control: private="set-cookie", max-age=7',), 7),
        ((), None),
        ((b"Cache-Control: max-age=0",), None),
        ((b"Cache-Control: max-age=0", b'ETag: "a"'), 0),
        ((b"Expires: 0", b'ETag: "a"'), 0),
        ((b"Expires: " + HOUR_AGO, b'ETag: "a"'), 0),
        ((b'ETag: "a"',), 0),
        ((b"Last-Modified: nonsense",), 0),
        ((b"CDN-Cache-Control: foo", b"Expires: " + IN_AN_HOUR), None),
    ],
)
def test_lifetime(lines: tuple[bytes, ...], seconds: float | None) -> None:
    assert lifetime(*lines) == seconds


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_ttl_is_for_what_states_no_lifetime(status: int) -> None:
    assert lifetime(status=status, ttl=60) == 60
    assert lifetime(b"Cache-Control: max-age=5", status=status, ttl=60) == 5


@pytest.mark.parametrize("status", [201, 202, 302, 403, 500, 502, 503, 504, 599])
def test_other_statuses_have_to_state_it(status: int) -> None:
    assert lifetime(b"Last-Modified: " + HOUR_AGO, status=status, ttl=60) is None
    assert lifetime(b"Cache-Control: max-age=5", status=status) == 5
    assert lifetime(b"Cache-Control: public", status=status, ttl=60) == 60


@pytest.mark.parametrize("status", [101, 206, 304])
def test_what_is_no_whole_answer_is_not_kept(status: int) -> None:
    assert judged(b"Cache-Control: max-age=5", status=status) is None


def test_status_that_is_not_understood_is_not_kept_if_it_must_be() -> None:
    assert judged(b"Cache-Control: max-age=5, must-understand", status=599) is None


@pytest.mark.parametrize(
    ("directive", "shared"),
    [
        (b"max-age=60", False),
        (b"max-age=60, public", True),
        (b"s-maxage=60", True),
        (b"max-age=60, must-revalidate", True),
        (b"max-age=60, proxy-revalidate", False),
    ],
)
def test_answer_to_credentials_has_to_say_it_may_be_shared(directive: bytes, shared: bool) -> None:
    found = judged(b"Cache-Control: " + directive, authorised=True)
    assert (found is not None) is shared


def test_ttl_does_not_share_what_credentials_got() -> None:
    assert judged(authorised=True, ttl=60) is None


@pytest.mark.parametrize(
    ("lines", "cookies", "kept"),
    [
        ((b"Cache-Control: max-age=60",), False, False),
        ((b"Cache-Control: max-age=60",), True, True),
        ((), True, False),
    ],
)
def test_cookies_are_not_shared_unless_the_route_says_so(
    lines: tuple[bytes, ...], cookies: bool, kept: bool
) -> None:
    found = judged(b"Set-Cookie: a=b", *lines, ttl=60, cookies=cookies)
    assert (found is not None) is kept


@pytest.mark.parametrize(
    ("lines", "took", "age"),
    [
        ((), 0, 0),
        ((), 3, 3),
        ((b"Age: 30",), 2, 32),
        ((b"Age: 7200, 0",), 0, 7200),
        ((b"Age: 0", b"Age: 7200"), 0, 0),
        ((b"Age: abc",), 0, 0),
        ((b"Age: -7200",), 0, 0),
        ((b"Age: 7200.0",), 0, 0),
        ((b"Age: 2147483649",), 0, 2**31),
    ],
)
def test_age_on_arrival(lines: tuple[bytes, ...], took: float, age: float) -> None:
    found = judged(b"Cache-Control: max-age=60", *lines, took=took)
    assert found is not None
    assert found.age == age


def test_date_in_the_past_is_an_age_too() -> None:
    fields = fields_of([b"Date: " + HOUR_AGO, b"Cache-Control: max-age=5"])
    found = terms(200, fields, authorised=False, ttl=0, asked_at=NOW, now=NOW)
    assert found is not None
    assert found.age == 3600


def test_date_that_is_none_is_now() -> None:
    fields = fields_of([b"Date: foo", b"Expires: " + IN_AN_HOUR])
    found = terms(200, fields, authorised=False, ttl=0, asked_at=NOW, now=NOW)
    assert found is not None
    assert (found.lifetime, found.age) == (3600, 0)


def test_no_cache_asks_each_time() -> None:
    found = judged(b"Cache-Control: no-cache, max-age=5", b'ETag: "a"')
    assert found is not None
    assert found.asks
    assert found.strict


def test_no_cache_of_fields_leaves_these_out() -> None:
    found = judged(b'Cache-Control: no-cache="A, b", max-age=5')
    assert found is not None
    assert not found.asks
    assert {b"a", b"b", b"age", b"proxy-authenticate"} <= found.dropped


@pytest.mark.parametrize("name", [b"must-revalidate", b"proxy-revalidate", b"s-maxage=2"])
def test_strict_answers_are_never_used_stale(name: bytes) -> None:
    found = judged(b"Cache-Control: max-age=2, " + name)
    assert found is not None
    assert found.strict


def test_staleness_that_is_allowed() -> None:
    found = judged(b"Cache-Control: max-age=2, stale-while-revalidate=5, stale-if-error=9")
    assert found is not None
    assert (found.while_revalidating, found.if_error, found.strict) == (5, 9, False)
