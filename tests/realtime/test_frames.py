"""Frames however they are cut, and what is wrong with them wherever it stands."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise
from typing import Any

import pytest
from aiohttp.http import WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from gateway.realtime.frames import MOST_FRAGMENTS, FrameError, Frames, sendable
from tests.websocket.frames import (
    BINARY,
    CONT,
    NO_CODE,
    PING,
    RSV1,
    TEXT,
    Frame,
    binary,
    close,
    fragments,
    ping,
    pong,
    text,
)

MOST = 70000
Heard = list[tuple[WSMsgType, Any]]


class Ear:
    """A reader, and what it read."""

    def __init__(self, most: int = MOST, *, deflate: bool = False) -> None:
        self.heard: Heard = []
        self.frames = Frames(lambda kind, data: self.heard.append((kind, data)), most, deflate)

    def feed(self, *pieces: bytes) -> int:
        """The code to close with; 0 where nothing is wrong."""
        for piece in pieces:
            try:
                self.frames.feed(piece)
            except FrameError as error:
                return error.code if error.reason else -1
        return 0


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({n % (len(data) + 1) for n in at} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


payload = st.one_of(
    st.text(max_size=30),
    st.sampled_from([0, 1, 125, 126, 127, 65535, 65536]).map(lambda size: "x" * size),
)


@st.composite
def conversation(draw: st.DrawFn) -> tuple[list[Frame], Heard]:
    """Frames of sound messages, control frames in between, and what is to be read of them."""
    sent: list[Frame] = []
    heard: Heard = []
    for _ in range(draw(st.integers(1, 5))):
        whole = draw(payload)
        data = whole.encode()
        is_text = draw(st.booleans())
        pieces = cut(data, draw(st.lists(st.integers(0, 1 << 17), max_size=3))) or [b""]
        if draw(st.booleans()):
            pieces.insert(draw(st.integers(0, len(pieces))), b"")
        for frame in fragments(TEXT if is_text else BINARY, *pieces):
            sent.append(frame)
            if draw(st.booleans()):
                said = draw(st.binary(max_size=125))
                sent.append(draw(st.sampled_from([ping, pong]))(said))
                kind = WSMsgType.PING if sent[-1].opcode == PING else WSMsgType.PONG
                if frame.fin:
                    heard.append((WSMsgType.TEXT, whole) if is_text else (WSMsgType.BINARY, data))
                heard.append((kind, said))
                if frame.fin:
                    break
        else:
            heard.append((WSMsgType.TEXT, whole) if is_text else (WSMsgType.BINARY, data))
    return sent, heard


@given(conversation(), st.lists(st.integers(0, 1 << 20), max_size=12), st.booleans())
def test_a_conversation_is_read_the_same_however_it_is_cut(
    said: tuple[list[Frame], Heard], at: list[int], views: bool
) -> None:
    sent, wanted = said
    data = b"".join(frame.wire() for frame in sent)
    pieces: list[Any] = cut(data, at)
    ear = Ear()
    assert ear.feed(*(map(memoryview, pieces) if views else pieces)) == 0
    assert ear.heard == wanted


@given(conversation(), st.integers(1, 3))
def test_byte_by_byte_is_no_different(said: tuple[list[Frame], Heard], size: int) -> None:
    sent, wanted = said
    sent = [frame for frame in sent if len(frame.payload) < 200]
    data = b"".join(frame.wire() for frame in sent)
    whole, slow = Ear(), Ear()
    codes = whole.feed(data), slow.feed(*(data[n : n + size] for n in range(0, len(data), size)))
    assert codes[0] == codes[1]
    assert whole.heard == slow.heard
    assert len(sent) < len(said[0]) or whole.heard == wanted


@given(st.binary(max_size=60), st.lists(st.integers(0, 100), max_size=5))
def test_rubbish_is_refused_with_a_code_that_may_be_sent(data: bytes, at: list[int]) -> None:
    whole, slow = Ear(), Ear()
    code = whole.feed(data)
    assert code == slow.feed(*cut(data, at))
    assert not code or sendable(code)
    assert whole.heard == slow.heard


def long_form(frame: Frame, size: int) -> bytes:
    """Its length in two or eight bytes, whatever it is."""
    wire = frame.wire()
    mark, form = (126, "!H") if size == 2 else (127, "!Q")
    return (
        wire[:1] + struct.pack("!B", 0x80 | mark) + struct.pack(form, len(frame.payload)) + wire[2:]
    )


BAD = {
    "not masked": (text().wire(mask=None), 1002),
    "a control frame that is not masked": (ping().wire(mask=None), 1002),
    "a length longer than it is": (long_form(text(b"x" * 125), 2), 1002),
    "a length much longer than it is": (long_form(text(b"x" * 65535), 8), 1002),
    "a length of more than 63 bits": (b"\x81\xff\xff" + b"\xff" * 7 + b"mask", 1009),
    "a continuation of nothing": (Frame(CONT, b"a").wire(), 1002),
    "a message in a message": (Frame(TEXT, b"", fin=False).wire() + text().wire(), 1002),
    "a deflated control frame": (Frame(PING, b"", rsv=RSV1).wire(), 1002),
    "deflated without having agreed": (Frame(TEXT, b"x", rsv=RSV1).wire(), 1002),
    "reserved bits": (Frame(TEXT, b"x", rsv=2).wire(), 1002),
    "an unknown opcode": (Frame(3).wire(), 1002),
    "a ping of 126 bytes": (ping(b"x" * 126).wire(), 1002),
    "a ping in fragments": (Frame(PING, fin=False).wire(), 1002),
    "a close of one byte": (Frame(8, b"x").wire(), 1002),
    "no UTF-8": (text(b"\xff").wire(), 1007),
    "a reason that is no UTF-8": (close(1000, b"\xff").wire(), 1007),
    "too long": (text(b"x" * (MOST + 1)).wire(), 1009),
    "too long, in fragments": (
        b"".join(f.wire() for f in fragments(TEXT, b"x" * MOST, b"x")),
        1009,
    ),
    "too long, and it has not come": (b"\x82\xff" + struct.pack("!Q", 1 << 40) + b"mask", 1009),
}


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize("wrong", BAD)
def test_what_is_wrong_has_its_code_and_what_came_before_is_heard(wrong: str, size: int) -> None:
    data, code = BAD[wrong]
    ear = Ear()
    data = text(b"before").wire() + data
    assert ear.feed(*(data[n : n + size] for n in range(0, len(data), size))) == code
    assert ear.heard == [(WSMsgType.TEXT, "before")]


def test_a_message_as_long_as_may_be_is_read() -> None:
    ear = Ear(10)
    in_two = (frame.wire() for frame in fragments(TEXT, b"x" * 9, b"x"))
    assert ear.feed(text(b"x" * 10).wire(), *in_two) == 0
    assert ear.heard == [(WSMsgType.TEXT, "x" * 10)] * 2


@pytest.mark.parametrize(("size", "code"), [(10, 0), (11, 1009), (10**6, 1009)])
def test_of_what_is_deflated_its_length_inflated_counts(size: int, code: int) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (packer.compress(b"x" * size) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    ear = Ear(2000 if size > 1000 else 10, deflate=True)
    assert ear.feed(Frame(TEXT, packed, rsv=RSV1).wire()) == code
    assert len(ear.heard) == (not code)


def test_what_cannot_be_inflated_is_refused() -> None:
    assert Ear(deflate=True).feed(Frame(TEXT, b"\xff" * 20, rsv=RSV1).wire()) == 1002


def test_a_message_has_only_so_many_fragments() -> None:
    ear = Ear()
    first, more = Frame(TEXT, b"", fin=False).wire(), Frame(CONT, b"", fin=False).wire()
    assert ear.feed(first, *[more] * (MOST_FRAGMENTS - 1)) == 0
    assert ear.feed(more) == 1008
    other = Ear()
    for _ in range(3):  # of each message, not of all
        assert other.feed(first, *[more] * (MOST_FRAGMENTS - 2), Frame(CONT).wire()) == 0


def test_a_failure_of_who_listens_is_not_the_clients() -> None:
    def fail(kind: WSMsgType, data: object) -> None:
        raise KeyError("ours")

    frames = Frames(fail, MOST, deflate=False)
    with pytest.raises(KeyError, match="ours"):
        frames.feed(text().wire())


@pytest.mark.parametrize(
    ("code", "may"),
    [
        *((code, True) for code in (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4999)),
        *((code, False) for code in (0, 999, 1004, NO_CODE, 1006, 1015, 1016, 2999, 5000)),
    ],
)
def test_codes_that_may_stand_in_a_close(code: int, may: bool) -> None:
    assert sendable(code) is may


def test_a_binary_message_and_a_close_are_heard_as_what_they_are() -> None:
    ear = Ear()
    assert ear.feed(binary(b"x").wire(), close(1000, b"bye").wire(), close(NO_CODE).wire()) == 0
    assert ear.heard == [
        (WSMsgType.BINARY, b"x"),
        (WSMsgType.CLOSE, 1000),
        (WSMsgType.CLOSE, 0),
    ]
