from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from gateway.errors import Gone
from gateway.policies.sunset import Sunset
from tests.http1.reading import exchange, values

SINCE = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
END = int(datetime(2026, 1, 31, tzinfo=UTC).timestamp())


def test_answers_say_since_when_until_when_and_where_instead() -> None:
    asked = exchange()
    links = {"successor-version": "/v1", "sunset": "https://docs.example/end"}
    Sunset(SINCE, END, links=links, now=lambda: END - 1).enter(asked)
    assert asked.lines == (
        b"Deprecation: @1767225600",
        b"Sunset: Sat, 31 Jan 2026 00:00:00 GMT",
        b'Link: </v1>; rel="successor-version"',
        b'Link: <https://docs.example/end>; rel="sunset"',
    )
    (end,) = values(asked.lines, b"sunset")
    assert parsedate_to_datetime(end.decode()).timestamp() == END


@pytest.mark.parametrize("now", [END, END + 0.5, END + 1e9])
def test_route_is_gone_from_its_end_on_and_still_says_so(now: float) -> None:
    asked = exchange()
    with pytest.raises(Gone):
        Sunset(SINCE, END, now=lambda: now).enter(asked)
    assert values(asked.lines, b"deprecation") == [b"@1767225600"]
    assert values(asked.lines, b"sunset") == [b"Sat, 31 Jan 2026 00:00:00 GMT"]


def test_end_comes_while_it_runs() -> None:
    clock = iter((END - 0.001, END))
    policy = Sunset(SINCE, END, now=lambda: next(clock))
    policy.enter(exchange())
    with pytest.raises(Gone):
        policy.enter(exchange())


def test_route_without_an_end_never_goes() -> None:
    asked = exchange()
    Sunset(SINCE, now=lambda: 1e12).enter(asked)
    assert asked.lines == (b"Deprecation: @1767225600",)


def test_lines_of_others_are_kept() -> None:
    asked = exchange()
    asked.lines = (b"Vary: Origin",)
    Sunset(SINCE, now=lambda: 0).enter(asked)
    assert asked.lines[0] == b"Vary: Origin"
