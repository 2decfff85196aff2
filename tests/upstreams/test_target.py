from __future__ import annotations

from typing import Any

import pytest

from gateway.upstreams.breaker import Breaker, State
from gateway.upstreams.pool import Pool
from gateway.upstreams.target import Address, Target


def make_target(breaker: Breaker | None = None, url: str = "http://h:1", weight: int = 1) -> Any:
    return Target(url, weight, Pool(1, 1, 1, 1), breaker)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:8001", Address("http", "h", 8001, None, b"h:8001")),
        ("http://h", Address("http", "h", 80, None, b"h")),
        ("http://H:80/", Address("http", "h", 80, None, b"h")),
        ("https://h:443", Address("https", "h", 443, None, b"h")),
        ("https://h:80", Address("https", "h", 80, None, b"h:80")),
        ("http://[::1]:8001", Address("http", "::1", 8001, None, b"[::1]:8001")),
        ("http://10.0.0.1", Address("http", "10.0.0.1", 80, None, b"10.0.0.1")),
        ("unix:///run/a.sock", Address("unix", "localhost", 0, "/run/a.sock", b"localhost")),
    ],
)
def test_url_is_taken_apart_once(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:8001",
        "ftp://h",
        "http://",
        "http://h:0",
        "http://h:65536",
        "http://s3cret@h",
        "http://s3cret:s3cret@h/base",
        "http://h?s3cret",
        "http://h/base",
        "http://h/base?s3cret",
        "http://h/base#s3cret",
        "http://h/../base",
        "http://h/a b",
        "http://bücher",
        "unix://run/a.sock",
    ],
)
def test_url_of_something_else_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refusal:
        Address.parse(url)
    assert "s3cret" not in str(refusal.value)


def test_weight_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make_target(weight=0)


def test_new_target_is_available() -> None:
    assert make_target().available(0)


def test_unhealthy_target_is_not_available() -> None:
    target = make_target()
    target.healthy = False
    assert not target.available(0)


def test_target_behind_an_open_breaker_is_not_available() -> None:
    target = make_target(Breaker(failures=1, window=1, open_for=10))
    assert target.available(0)
    target.breaker.failed(0, since=0, why="connect")
    assert (target.available(9), target.available(10)) == (False, True)


def test_started_requests_are_in_flight_until_they_end() -> None:
    target = make_target()
    target.started(0)
    target.started(0)
    target.ended()
    assert target.in_flight == 1


def test_first_request_after_an_opening_is_the_probe() -> None:
    target = make_target(Breaker(failures=1, window=1, open_for=10))
    target.breaker.failed(0, since=0, why="connect")
    target.started(10)
    assert target.breaker.state is State.HALF_OPEN
    assert not target.available(10)


def test_target_shows_itself_by_its_url() -> None:
    assert repr(make_target()) == "<Target http://h:1>"
