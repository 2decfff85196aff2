from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("10", 10),
        (" 1.5 s ", 1.5),
        ("2m", 120),
        ("1H", 3600),
        ("90d", 7_776_000),
        (30, 30),
        (0.5, 0.5),
        (0, 0),
    ],
)
def test_duration_in_any_notation_is_seconds(text: object, seconds: float) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "ten", "10 parsecs", "-5s", "1e3", "٣s", True, None, float("nan"), [], "1h30m"]
)
def test_duration_that_is_none_says_what_was_expected(value: object) -> None:
    with pytest.raises(ValueError, match="250ms, 10s, 2m, 1h, 90d"):
        units.duration(value)


def test_duration_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="not less than 0"):
        units.duration(-1)


@pytest.mark.parametrize("value", [float("inf"), "36501d", 10**400, "9" * 5000])
def test_duration_beyond_a_lifetime_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="at most 100 years"):
        units.duration(value)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (1048576, 1048576),
        ("1048576", 1048576),
        ("64k", 65536),
        ("64KiB", 65536),
        ("8MiB", 8388608),
        ("8m", 8388608),
        ("10MB", 10_000_000),
        ("64 kB", 64000),
        ("1.5KiB", 1536),
        ("2GiB", 2**31),
        ("1t", 2**40),
        ("12B", 12),
        (0, 0),
    ],
)
def test_size_in_any_notation_is_bytes(text: object, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("value", ["", "big", "8 miles", "-1", "8iB", False, None, "1_000"])
def test_size_that_is_none_says_what_was_expected(value: object) -> None:
    with pytest.raises(ValueError, match="64k, 512KiB, 8MiB"):
        units.size(value)


@pytest.mark.parametrize("value", [-1, "2048t", float("inf"), "9" * 5000])
def test_size_out_of_bounds_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="0 to 1024TiB"):
        units.size(value)


@pytest.mark.parametrize("value", [0.5, "1.3KiB"])
def test_size_with_a_part_of_a_byte_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        units.size(value)


@pytest.mark.parametrize(("text", "number"), [(7, 7), ("7", 7), (" 007 ", 7), ("-3", -3)])
def test_count_in_digits_is_a_number(text: object, number: int) -> None:
    assert units.count(text) == number


@pytest.mark.parametrize("value", ["", "seven", "7.0", 7.0, True, None, "1_0"])
def test_count_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        units.count(value)


@pytest.mark.parametrize("value", [2**31, "9" * 5000])
def test_count_beyond_its_bound_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="at most 2147483647"):
        units.count(value)


@pytest.mark.parametrize(
    ("text", "count", "period"),
    [("100/hour", 100, 3600), ("60 / minute", 60, 60), ("5/s", 5, 1), ("1000/DAY", 1000, 86400)],
)
def test_rate_is_a_count_in_a_period(text: str, count: int, period: float) -> None:
    assert units.rate(text) == units.Rate(count, period)


@pytest.mark.parametrize("value", ["", "100", "100/fortnight", "1.5/s", "-1/s", 100, None])
def test_rate_that_is_none_says_what_was_expected(value: object) -> None:
    with pytest.raises(ValueError, match="60/minute, 100/hour"):
        units.rate(value)


def test_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        units.rate("00/minute")


@pytest.mark.parametrize("value", ["2000000000/s", "9" * 5000 + "/day"])
def test_rate_beyond_a_clocks_resolution_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="at most 1000000000 a second"):
        units.rate(value)


@pytest.mark.parametrize(
    ("rate", "text"), [(units.Rate(60, 60), "60/minute"), (units.Rate(2, 90), "2/90s")]
)
def test_rate_is_shown_as_people_write_it(rate: units.Rate, text: str) -> None:
    assert str(rate) == text


@given(st.integers(1, 10**6), st.sampled_from(["second", "minute", "hour", "day"]))
def test_rate_survives_being_written_down(count: int, period: str) -> None:
    assert str(units.rate(f"{count}/{period}")) == f"{count}/{period}"


@pytest.mark.parametrize("text", ["10.0.0.0/8", "fd00::/8", "192.0.2.7", " ::1 "])
def test_network_in_any_notation_is_read(text: str) -> None:
    assert units.network(text) == ip_network(text.strip())


def test_network_that_is_one_already_stays_as_it_is() -> None:
    assert units.network(ip_network("10.0.0.0/8")) == ip_network("10.0.0.0/8")


@pytest.mark.parametrize("value", ["", "*", "10.0.0.0/33", "private", 1, None])
def test_network_that_is_none_says_what_was_expected(value: object) -> None:
    with pytest.raises(ValueError, match=r"192\.0\.2\.7, 10\.0\.0\.0/8"):
        units.network(value)


def test_network_with_bits_behind_its_mask_names_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/8 was probably meant"):
        units.network("10.1.2.3/8")


@given(st.text(max_size=40))
@pytest.mark.parametrize(
    "read", [units.duration, units.size, units.count, units.rate, units.network]
)
def test_text_of_any_kind_is_a_value_or_a_value_error(
    read: Callable[[object], object], text: str
) -> None:
    with suppress(ValueError):
        assert read(text) is not None


def test_rate_has_a_burst_of_its_own_or_as_many_as_it_counts() -> None:
    assert units.Rate(60, 60.0).burst == 60
    assert units.Rate(60, 60.0) == units.Rate(60, 60.0, 60)
    assert units.Rate(60, 60.0, 5) != units.Rate(60, 60.0)
    assert units.Rate(7, 0.25).nanoseconds == 250_000_000


def test_quota_is_a_rate_or_none() -> None:
    assert units.quota("60/minute") == units.Rate(60, 60.0)
    assert units.quota(" Unlimited ") is None
    for value in ("0/minute", "", None, 60):
        with pytest.raises(ValueError, match=r"expected a rate .*; or unlimited"):
            units.quota(value)
