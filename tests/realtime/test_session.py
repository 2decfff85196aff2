"""A client's WebSocket without a socket: what it says, and what it is answered."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from gateway.errors import BadRequest, RateLimited
from gateway.exchange import Principal
from gateway.http1.fields import HeadLimits
from gateway.http1.request import RequestHead, parse_request
from gateway.realtime import hub as hub_module
from gateway.realtime import session as session_module
from gateway.realtime import subscriber
from gateway.realtime.hub import Limits
from gateway.realtime.session import LiveSocket, Session
from gateway.realtime.subscriber import Pace
from gateway.units import Rate
from tests.realtime.members import UNLIMITED, Client, Scene, exchange
from tests.websocket.frames import (
    CLOSE,
    NO_CODE,
    PING,
    PONG,
    RSV1,
    TEXT,
    Frame,
    binary,
    close,
    code_of,
    fragments,
    ping,
    pong,
    text,
)
from tests.websocket.talking import upgrade

NO_LIMIT = Rate(10**6, 1.0)


class Stage(Scene):
    """A hub with one session; `say` gives what the client is answered at once."""

    def __init__(self, held: bytes = b"", *, deflate: bool = False, **limits: Any) -> None:
        super().__init__(Limits(**{"message_rate": NO_LIMIT, "pace": UNLIMITED, **limits}))
        self.client = Client()
        self.client.held = held
        self.exchange = exchange(self.client, Principal("jwt", "ann\ud800"))
        self.exchange.status = 101
        self.session = Session(self.hub, self.exchange, deflate)

    def open(self) -> list[Any]:
        self.session.open()
        return self.heard()

    def heard(self) -> list[Any]:
        return [said(frame) for frame in server_frames(self.client.taken())]

    def feed(self, *frames: Frame | bytes) -> list[Any]:
        data = b"".join(f if isinstance(f, bytes) else f.wire() for f in frames)
        self.session.received((data,))
        return self.heard()

    def say(self, action: str, *symbols: str, **more: Any) -> list[Any]:
        message = {"action": action, **({"symbols": symbols} if symbols else {}), **more}
        return self.feed(text(json.dumps(message)))

    def lose(self) -> dict[str, Any]:
        """The connection is gone; what the log says of it."""
        self.session.abandoned()
        return self.log.of("websocket_closed")[-1]


def server_frames(data: bytes) -> list[Frame]:
    frames = []
    while data:
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10]), 10
        frames.append(Frame(data[0] & 15, data[at : at + size], rsv=data[0] >> 4 & 7))
        data = data[at + size :]
    return frames


def said(frame: Frame) -> Any:
    if frame.opcode == TEXT and not frame.rsv:
        return json.loads(frame.payload)
    return (code_of(frame), frame.payload[2:].decode()) if frame.opcode == CLOSE else frame


def codes(messages: list[Any]) -> list[str]:
    return [one.get("error", one["type"]) for one in messages]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """The scenes' own clock is what time it is: that of the last one put in."""
    scenes: list[Scene] = []
    for module in (session_module, subscriber, hub_module):
        monkeypatch.setattr(module, "monotonic", lambda: scenes[-1].loop.now if scenes else 1000.0)
    return scenes


def ticking(clock: list[Scene], *args: Any, **limits: Any) -> Stage:
    stage = Stage(*args, **limits)
    clock.append(stage)
    stage.open()
    return stage


# -------------------------------------------------------------------------------- conversation


def test_a_client_is_welcomed_and_its_connection_is_logged() -> None:
    stage = Stage()
    (welcome,) = stage.open()
    assert welcome == {"type": "welcome", "connection_id": stage.session._id}
    (line,) = stage.log.of("websocket_opened")
    assert line == {
        "connection_id": welcome["connection_id"],
        "request_id": "r1",
        "client_ip": "127.0.0.1",
        "principal": "ann\ud800",
    }
    assert stage.meters.connections.value == 1


def test_nobody_is_no_principal() -> None:
    stage = Stage()
    stage.exchange.principal = None
    stage.open()
    assert stage.log.of("websocket_opened")[0]["principal"] is None


def test_actions_are_answered() -> None:
    stage = Stage()
    stage.open()
    assert stage.say("ping") == [{"type": "pong"}]
    assert stage.say("subscribe", "A", "B") == [{"type": "subscribed", "symbols": ["A", "B"]}]
    stage.event(1)
    assert stage.heard()[0]["offset"] == "e-1"
    assert stage.say("unsubscribe", "A", "C") == [{"type": "unsubscribed", "symbols": ["A", "C"]}]
    stage.event(2)
    stage.event(3, "B")
    assert [one["symbol"] for one in stage.heard()] == ["B"]


def test_what_came_with_the_handshake_is_heard() -> None:
    stage = Stage(text('{"action":"ping"}').wire())
    assert codes(stage.open()) == ["welcome", "pong"]


def test_what_cannot_be_done_is_answered_and_the_connection_goes_on() -> None:
    stage = Stage(max_symbols=2)
    stage.open()
    assert codes(stage.feed(text("{"))) == ["bad_json"]
    assert codes(stage.say("fly")) == ["unknown_action"]
    assert codes(stage.say("subscribe", "a")) == ["bad_symbol"]
    assert codes(stage.say("subscribe", "*")) == ["bad_symbol"]
    assert codes(stage.say("subscribe", "A", "B", "C")) == ["too_many_symbols"]
    assert codes(stage.say("subscribe", "A", since="x")) == ["bad_offset"]
    assert stage.session.symbols == set()
    assert codes(stage.say("subscribe", "A", "B")) == ["subscribed"]
    assert codes(stage.say("subscribe", "C")) == ["too_many_symbols"]
    assert codes(stage.say("subscribe", "A")) == ["subscribed"]
    assert codes(stage.say("ping")) == ["pong"]


def test_everything_is_one_symbol_where_it_is_allowed() -> None:
    stage = Stage(wildcard=True)
    stage.open()
    assert codes(stage.say("subscribe", "*")) == ["subscribed"]
    stage.event(1, "ZZ")
    assert codes(stage.heard()) == ["prediction_update"]


def test_what_was_missed_comes_behind_the_answer() -> None:
    stage = Stage()
    stage.events(1, 2, 3)
    stage.open()
    answers = stage.say("subscribe", "A", since="e-1")
    assert codes(answers) == ["subscribed", "prediction_update", "prediction_update"]
    assert codes(stage.say("subscribe", "A", since="e-1")) == ["subscribed"]
    assert stage.say("subscribe", "B", since="other-1")[1] == {
        "type": "refetch",
        "symbols": ["B"],
    }


def test_a_client_may_ask_for_the_newest_only(clock: list[Scene]) -> None:
    stage = ticking(clock, pace=Pace(Rate(1, 1.0)))
    stage.say("subscribe", "A", conflate=True)
    stage.events(1, 2, 3, 4)
    stage.loop.advance(1.1)
    assert [one["offset"] for one in stage.heard()] == ["e-1", "e-4"]
    stage.say("subscribe", "A", conflate=False)
    stage.events(5, 6)
    stage.loop.advance(3)
    assert [one["offset"] for one in stage.heard()] == ["e-5", "e-6"]


@pytest.mark.parametrize("deflate", [True, False])
def test_updates_are_deflated_where_that_was_agreed(deflate: bool) -> None:
    stage = Stage(deflate=deflate)
    stage.open()
    stage.say("subscribe", "A")
    stage.event(1, note="x" * 200)
    (frame,) = server_frames(stage.client.taken())
    assert frame.rsv == (RSV1 if deflate else 0)


def test_a_ping_is_answered_with_its_own_words() -> None:
    stage = Stage()
    stage.open()
    assert stage.feed(ping(b"x" * 125)) == [Frame(PONG, b"x" * 125)]
    assert stage.feed(pong(b"whatever")) == []


def test_a_message_in_pieces_is_one() -> None:
    stage = Stage()
    stage.open()
    frames = fragments(TEXT, b'{"action":', b"", b'"ping"}')
    assert codes(stage.feed(*frames)) == ["pong"]


# --------------------------------------------------------------------------------------- rates


def test_too_many_messages_are_warned_of_then_ignored_then_the_end(clock: list[Scene]) -> None:
    stage = ticking(clock, message_rate=Rate(10, 1.0))
    answers = stage.feed(*[text('{"action":"ping"}')] * 20)
    assert codes(answers) == ["pong"] * 10 + ["too_many_messages"]
    assert "10/second" in answers[-1]["message"]
    assert stage.feed(text('{"action":"ping"}')) == [(1008, "too many messages")]
    assert stage.log.of("websocket_error")[0]["problem"] == "too many messages"
    assert stage.log.of("websocket_closed")[0]["code"] == 1008
    assert stage.client.ends == ["finish False"]


def test_who_heeds_the_warning_stays(clock: list[Scene]) -> None:
    stage = ticking(clock, message_rate=Rate(10, 1.0))
    for _ in range(5):
        assert codes(stage.feed(*[text('{"action":"ping"}')] * 15))[-1] == "too_many_messages"
        stage.loop.advance(1.0)
    assert stage.client.ends == []


def test_who_never_heeds_it_goes(clock: list[Scene]) -> None:
    stage = ticking(clock, message_rate=Rate(10, 1.0))
    answers: list[Any] = []
    for _ in range(100):
        answers += stage.feed(text('{"action":"ping"}'))
        stage.loop.advance(0.07)
    assert (1008, "too many messages") in answers


def test_at_the_rate_nobody_is_warned(clock: list[Scene]) -> None:
    stage = ticking(clock, message_rate=Rate(10, 1.0), ping_interval=0, idle_timeout=0)
    for _ in range(300):
        assert codes(stage.say("ping")) == ["pong"]
        stage.loop.advance(0.1001)


def test_control_frames_count_as_messages(clock: list[Scene]) -> None:
    stage = ticking(clock, message_rate=Rate(10, 1.0))
    answers = stage.feed(*[ping(b"x")] * 30)
    assert sum(isinstance(one, Frame) for one in answers) == 10
    assert answers[-1] == (1008, "too many messages")


def test_who_takes_none_of_its_answers_is_not_read(clock: list[Scene]) -> None:
    stage = ticking(clock)
    stage.client.full = True
    stage.session.blocked()
    stage.say("ping")
    assert stage.client.paused
    stage.client.full = False
    stage.session.unblocked()
    assert not stage.client.paused


# ---------------------------------------------------------------------------------- pace and full


def test_a_full_client_gets_its_updates_when_it_takes_again() -> None:
    stage = Stage()
    stage.open()
    stage.say("subscribe", "A")
    stage.client.full = True
    stage.session.blocked()
    stage.events(1, 2)
    assert stage.heard() == []
    assert stage.hub.queued == 2
    stage.client.full = False
    stage.session.unblocked()
    assert codes(stage.heard()) == ["prediction_update"] * 2
    assert stage.hub.queued == 0


# ------------------------------------------------------------------------------------- its end


def test_a_close_is_answered_in_kind() -> None:
    for sent, answered, code in ((1000, 1000, 1000), (4999, 4999, 4999), (NO_CODE, NO_CODE, 1005)):
        stage = Stage()
        stage.open()
        stage.client.taken()
        stage.session.received((close(sent, b"bye" if sent != NO_CODE else b"").wire(),))
        (frame,) = server_frames(stage.client.taken())
        assert code_of(frame) == answered
        assert stage.client.ends == ["close"]
        assert stage.lose()["code"] == code


def test_a_close_that_nobody_may_send_is_a_mistake() -> None:
    stage = Stage()
    stage.open()
    assert stage.feed(close(5000))[0][0] == 1002
    assert stage.client.ends == ["finish False"]


def test_what_comes_behind_a_close_is_not_heard() -> None:
    stage = Stage()
    stage.open()
    answers = stage.feed(close(), text('{"action":"ping"}'), close())
    assert answers == [(1000, "")]
    stage.session.received((text().wire(), close().wire()))
    assert stage.heard() == []
    assert stage.client.ends == ["close"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (text().wire(mask=None), 1002),
        (binary().wire(), 1003),
        (text(b"\xff").wire(), 1007),
        (text(b"x" * 101).wire(), 1009),
    ],
)
def test_a_mistake_ends_it_with_its_code_at_once(frame: bytes, code: int) -> None:
    stage = Stage(max_message=100)
    stage.open()
    stage.say("subscribe", "A")
    assert stage.feed(frame)[0][0] == code
    assert not stage.hub.members
    stage.event(1)
    assert stage.client.ends == ["finish False"]
    closed = stage.log.of("websocket_closed")[0]
    assert closed["code"] == code
    assert closed["connection_id"] == stage.session._id


def test_rubbish_behind_our_close_neither_ends_nor_answers_anything() -> None:
    """A close at once would be a reset, and a reset may take our own Close along."""
    stage = Stage()
    stage.open()
    stage.session.going_away()
    assert stage.heard() == [(1001, "")]
    for _ in range(5):
        assert stage.feed(b"\xff" * 1000) == []
    assert stage.client.ends == []
    assert stage.log.of("websocket_error") == []


def test_who_would_not_be_let_in_any_more_has_to_go() -> None:
    stage = Stage()
    stage.open()
    stage.session.dismiss()
    assert stage.heard() == [(1008, "the credentials are no longer valid")]


def test_our_close_is_over_when_the_client_answers_it() -> None:
    stage = Stage()
    stage.open()
    stage.session.going_away()
    stage.session.going_away()
    assert stage.heard() == [(1001, "")]
    stage.session.tell("warning", dropped=1)
    assert stage.feed(close(1001)) == []
    assert stage.client.ends == ["close"]
    stage.loop.advance(10)
    assert stage.client.ends == ["close"]
    assert stage.lose()["code"] == 1001


def test_the_idle_are_told_why_they_have_to_go() -> None:
    stage = Stage(idle_timeout=90, ping_interval=0)
    stage.open()
    stage.loop.advance(60)
    stage.say("ping")
    stage.loop.advance(60)
    assert stage.heard() == []
    stage.loop.advance(30)
    assert stage.heard() == [(1000, "no subscription and no message for 90 s")]


def test_who_subscribes_is_not_idle_until_it_unsubscribes() -> None:
    stage = Stage(idle_timeout=90, ping_interval=0)
    stage.open()
    stage.say("subscribe", "A")
    stage.loop.advance(1000)
    assert stage.heard() == []
    stage.say("unsubscribe", "A")
    stage.loop.advance(90)
    assert stage.heard()[0][0] == 1000


def test_who_answers_pings_stays_and_the_silent_are_cut() -> None:
    stage = Stage(idle_timeout=0)
    stage.open()
    stage.loop.advance(30)
    for _ in range(5):
        assert stage.heard() == [Frame(PING)]
        stage.feed(pong())
        stage.loop.advance(30)
    stage.loop.advance(30)
    assert stage.client.ends == ["cut"]
    assert not stage.hub.members
    closed = stage.lose()
    assert (closed["code"], closed["reason"]) == (1006, "silent")
    assert stage.exchange.error == "silent"
    stage.loop.advance(1000)
    assert stage.client.ends == ["cut"]


def test_a_slow_client_is_not_taken_for_a_silent_one() -> None:
    """While it is full it may not be read, and a ping would stand behind all it has to take."""
    stage = Stage(idle_timeout=0)
    stage.open()
    stage.loop.advance(30)
    stage.client.full = True
    stage.loop.advance(90)
    assert stage.heard() == [Frame(PING)]
    stage.client.full = False
    stage.loop.advance(30)
    assert stage.heard() == [Frame(PING)]
    assert stage.client.ends == []
    stage.loop.advance(30)
    assert stage.client.ends == ["cut"]


def test_while_the_gateway_drains_a_new_client_is_sent_away() -> None:
    stage = Stage()
    stage.client.front.draining = True  # type: ignore[misc]
    assert stage.open()[-1] == (1001, "")


def test_a_client_that_is_lost_leaves_nothing() -> None:
    stage = Stage(pace=Pace(Rate(1, 1.0)))
    stage.open()
    stage.say("subscribe", "A", "B")
    stage.events(1, 2, 3)
    closed = stage.lose()
    assert closed["code"] == 1006
    assert closed["reason"] is None
    assert (closed["sent"], closed["received"], closed["dropped"]) == (1, 1, 0)
    assert stage.meters.connections.value == stage.meters.subscriptions.value == 0
    assert stage.hub.queued == 0
    assert stage.exchange.body_sent > 0
    stage.events(4)
    stage.loop.advance(1000)


def test_a_session_that_ended_is_freed_without_the_collector() -> None:
    def sessions() -> int:
        return sum(type(one) is Session for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = sessions()
        stage: Stage | None = Stage()
        assert stage is not None
        stage.open()
        stage.say("subscribe", "A")
        stage.lose()
        stage.client.sink = None
        hub = stage.hub  # goes on
        del stage
        assert sessions() == before
        assert hub.members == set()
    finally:
        gc.enable()


def test_a_body_never_ends() -> None:
    stage = Stage()
    stage.open()
    stage.session.ended()
    stage.session.blocked()
    stage.session.going_away()
    stage.session.unblocked()
    assert stage.session.waiting == 0


# ----------------------------------------------------------------------------------- its opening


def asked(*lines: bytes) -> Any:
    data = upgrade(b"/ws/predictions", *lines)
    head, _ = parse_request(data, data.index(b"\r\n\r\n"), HeadLimits(), None)
    made = exchange(Client())
    made.head = head
    return made


def test_an_opening_is_answered_and_welcomed() -> None:
    scene = Scene()
    opening = asked()
    opening.lines = (b"Vary: Origin",)
    LiveSocket(scene.hub).handle(opening)
    head, _, rest = opening.client.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    for line in (b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"Vary: Origin"):
        assert line in head.split(b"\r\n")
    assert b"X-Request-ID: r1" in head
    assert b"Extensions" not in head
    assert b"welcome" in rest
    assert opening.status == 101


@pytest.mark.parametrize("deflate", [True, False])
def test_deflate_is_agreed_on_where_both_want_it(deflate: bool) -> None:
    scene = Scene(Limits(deflate=deflate))
    opening = asked(b"Sec-WebSocket-Extensions: permessage-deflate")
    LiveSocket(scene.hub).handle(opening)
    assert (b"permessage-deflate" in opening.client.written) is deflate


def test_no_opening_is_refused_before_anything_is_sent() -> None:
    scene = Scene()
    plain = exchange(Client())
    plain.head = RequestHead(b"GET", 1, b"")
    with pytest.raises(BadRequest):
        LiveSocket(scene.hub).handle(plain)
    assert plain.status == 0
    assert not scene.hub.members


def test_where_there_is_no_room_nothing_is_sent() -> None:
    scene = Scene(Limits(connections_per_address=1))
    LiveSocket(scene.hub).handle(asked())
    opening = asked()
    with pytest.raises(RateLimited):
        LiveSocket(scene.hub).handle(opening)
    assert (opening.status, opening.client.written) == (0, b"")
