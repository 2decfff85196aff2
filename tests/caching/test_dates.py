"""HTTP dates: the three forms of RFC 9110, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.caching.dates import parse

NOV_6_1994 = 784111777


@pytest.mark.parametrize(
    "value",
    [
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"SUN, 06 NOV 1994 08:49:37 gmt",
    ],
)
def test_all_forms_mean_the_same_moment(value: bytes) -> None:
    assert parse(value) == NOV_6_1994


@pytest.mark.parametrize(
    "value",
    [
        b"0",
        b"-1",
        b"",
        b"Thu, 38 Aug 2050 02:01:18 GMT",
        b"Thu, 18 Foo 2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 02:01:18 UTC",
        b"Thu, 18 Aug 50 02:01:18 GMT",
        b"Thu 18 Aug 2050 02:01:18 GMT",
        b"Thu, 18-Aug-2050 02:01:18 GMT",
        b"Thu, 18 Aug 2050 2:01:18 GMT",
        b"Thu, 18 Aug 2050 25:01:18 GMT",
    ],
)
def test_anything_else_is_no_date(value: bytes) -> None:
    assert parse(value) is None


def test_leap_second_is_the_second_before() -> None:
    assert parse(b"Sat, 31 Dec 2016 23:59:60 GMT") == parse(b"Sat, 31 Dec 2016 23:59:59 GMT")


@pytest.mark.parametrize(("ahead", "century"), [(49, 0), (51, -100)])
def test_year_of_two_digits_is_never_far_ahead(ahead: int, century: int) -> None:
    year = datetime.now(UTC).year + ahead
    moment = parse(b"Monday, 01-Jan-%02d 00:00:00 GMT" % (year % 100))
    assert moment == datetime(year + century, 1, 1, tzinfo=UTC).timestamp()
