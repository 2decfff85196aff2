"""Server-Sent Events without a socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.errors import BadRequest, RateLimited
from gateway.exchange import Principal
from gateway.http1.fields import HeadLimits
from gateway.http1.request import parse_request
from gateway.realtime.hub import Limits
from gateway.realtime.stream import COMMENT, LiveStream, Stream
from gateway.realtime.subscriber import Pace
from gateway.units import Rate
from tests.realtime.members import UNLIMITED, Client, Scene, exchange


class Stage(Scene):
    """A hub, and the answer to one request."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(Limits(**{"pace": UNLIMITED, **limits}))
        self.client = Client()

    def ask(self, query: str, *lines: str, version: str = "1.1") -> Any:
        head = "\r\n".join((f"GET /s{query} HTTP/{version}", "Host: a", *lines, "", ""))
        data = head.encode()
        parsed, target = parse_request(data, len(data) - 4, HeadLimits(), None)
        made = exchange(self.client, Principal("api_key", "k1"))
        made.head = parsed
        made.query = b"".join(target.partition(b"?")[1:])
        LiveStream(self.hub).handle(made)
        return made

    def head(self) -> bytes:
        head, _, self.client.written = self.client.written.partition(b"\r\n\r\n")
        return head

    def events(self, *numbers: int, symbol: str = "A") -> list[dict[str, Any]]:
        """Those that were sent, behind what the bus tells now."""
        super().events(*numbers, symbol=symbol)
        found = []
        for block in unchunked(self.client.taken()).split("\n\n")[:-1]:
            if block.startswith(":"):
                found.append({"comment": block})
                continue
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            fields["data"] = json.loads(fields["data"])
            found.append(fields)
        return found

    @property
    def stream(self) -> Stream:
        (found,) = self.hub.members
        assert isinstance(found, Stream)
        return found


def unchunked(data: bytes) -> str:
    out = b""
    while data[:1] and b"\r\n" in data:
        size, _, data = data.partition(b"\r\n")
        out += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return out.decode()


def test_a_stream_begins_with_a_welcome_and_goes_on_with_updates() -> None:
    stage = Stage()
    asked = stage.ask("?symbols=A,B")
    head = stage.head()
    assert head.startswith(b"HTTP/1.1 200 ")
    for line in (b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked"):
        assert line in head
    assert asked.status == 200
    welcome, update = stage.events(1)
    assert welcome["event"] == welcome["data"]["type"] == "welcome"
    assert (update["event"], update["id"]) == ("prediction_update", "e-1")
    assert update["data"]["offset"] == "e-1"
    assert stage.events(2, symbol="C") == []
    (line,) = stage.log.of("stream_opened")
    assert line["principal"] == "k1"


@pytest.mark.parametrize("query", ["?symbols=A&symbols=B", "?symbols=A%2CB", "?x=1&symbols=,A,B,"])
def test_symbols_may_be_written_in_several_ways(query: str) -> None:
    stage = Stage()
    stage.ask(query)
    assert stage.stream.symbols == {"A", "B"}


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("", ()),
        ("?", ()),
        ("?symbols=", ()),
        ("?symbols=a", ()),
        ("?symbols=*", ()),
        ("?symbols=A,B,C", ()),
        ("?symbols=A%00", ()),
        ("?symbols=A&since=x", ()),
        ("?symbols=A", ("Last-Event-ID: x",)),
        ("?" + "a&" * 300 + "symbols=A", ()),
    ],
)
def test_what_cannot_be_answered_is_refused(query: str, lines: tuple[str, ...]) -> None:
    stage = Stage(max_symbols=2)
    with pytest.raises(BadRequest):
        stage.ask(query, *lines)
    assert not stage.hub.members
    assert stage.client.written == b""


def test_where_there_is_no_room_nothing_is_sent() -> None:
    stage = Stage(connections_per_key=1)
    stage.ask("?symbols=A")
    stage.client = Client()
    with pytest.raises(RateLimited):
        stage.ask("?symbols=A")
    assert stage.client.written == b""


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("&since=e-1", ()),
        ("", ("Last-Event-ID: e-1",)),
        ("&since=e-2", ("Last-Event-ID: e-1",)),
        ("", ("Last-Event-ID: e-2", "Last-Event-ID: e-1")),
    ],
)
def test_what_was_missed_comes_behind_the_welcome(query: str, lines: tuple[str, ...]) -> None:
    stage = Stage()
    stage.events(1, 2, 3)
    stage.ask("?symbols=A" + query, *lines)
    stage.head()
    assert [one.get("id") for one in stage.events(4)] == [None, "e-2", "e-3", "e-4"]


def test_an_empty_last_event_id_is_none() -> None:
    stage = Stage()
    stage.events(1)
    stage.ask("?symbols=A", "Last-Event-ID: ")
    stage.head()
    assert len(stage.events()) == 1


def test_what_cannot_be_had_has_to_be_fetched_again() -> None:
    stage = Stage()
    stage.ask("?symbols=A,B", "Last-Event-ID: other-1")
    stage.head()
    _, refetch = stage.events()
    assert refetch["event"] == "refetch"
    assert refetch["data"] == {"type": "refetch", "symbols": ["A", "B"]}


def test_comments_show_that_it_goes_on_but_not_to_one_who_takes_nothing() -> None:
    stage = Stage()
    stage.ask("?symbols=A")
    stage.client.taken()
    stage.loop.advance(30)
    assert COMMENT in stage.client.taken()
    stage.client.full = True
    stage.loop.advance(30)
    assert stage.client.taken() == b""
    stage.client.full = False
    stage.loop.advance(30)
    assert COMMENT in stage.client.taken()


def test_a_full_client_gets_its_updates_later_and_is_told_of_the_dropped() -> None:
    stage = Stage(pace=Pace(rate=None, waiting=2))
    stage.ask("?symbols=A")
    stage.client.taken()
    stage.client.full = True
    stage.stream.blocked()
    assert stage.events(1, 2, 3, 4, 5) == []
    stage.client.full = False
    stage.stream.unblocked()
    warning, *rest = stage.events()
    assert warning["event"] == "warning"
    assert warning["data"]["dropped"] == 3
    assert [one["id"] for one in rest] == ["e-4", "e-5"]


def test_the_rate_holds_for_streams_too() -> None:
    stage = Stage(pace=Pace(Rate(2, 1.0)))
    stage.ask("?symbols=A")
    stage.head()
    assert len(stage.events(*range(1, 10))) == 1 + 2
    assert stage.hub.queued == 7


def test_a_stream_ends_whole_when_the_gateway_goes() -> None:
    stage = Stage()
    stage.ask("?symbols=A")
    stream = stage.stream
    stream.going_away()
    stream.going_away()
    assert stage.client.written.endswith(b"0\r\n\r\n")
    assert stage.client.ends == ["finish True"]
    assert not stage.hub.members
    stream.unblocked()
    stream.tell("warning", dropped=1)
    stream.abandoned()
    assert stage.log.of("stream_closed")[0]["reason"] == "going away"
    assert len(stage.log.of("stream_closed")) == 1


def test_who_would_not_be_let_in_any_more_has_its_stream_ended() -> None:
    stage = Stage()
    stage.ask("?symbols=A")
    stage.stream.dismiss()
    assert stage.client.ends == ["finish True"]
    assert not stage.hub.members


def test_while_the_gateway_drains_a_stream_ends_at_once() -> None:
    stage = Stage()
    stage.client.front.draining = True  # type: ignore[misc]
    stage.ask("?symbols=A")
    assert stage.client.ends == ["finish False"]
    assert not stage.hub.members


def test_to_an_old_client_the_connections_end_is_the_streams() -> None:
    stage = Stage()
    stage.ask("?symbols=A", version="1.0")
    assert b"chunked" not in stage.head()
    assert stage.client.written.startswith(b"event: welcome\n")
    stage.stream.going_away()
    assert stage.client.ends == ["finish False"]


def test_a_client_that_is_lost_leaves_nothing() -> None:
    stage = Stage(pace=Pace(Rate(1, 1.0)))
    stage.ask("?symbols=A")
    stage.head()
    stream = stage.stream
    stage.events(1, 2, 3)
    stream.received((b"x",))
    stream.ended()
    stream.abandoned()
    stream.abandoned()
    (closed,) = stage.log.of("stream_closed")
    assert (closed["reason"], closed["sent"]) == ("left", 1)
    assert stage.meters.connections.value == stage.hub.queued == 0
    stage.loop.advance(100)
