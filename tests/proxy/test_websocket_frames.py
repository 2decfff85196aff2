"""Frames of one direction, followed wherever the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.proxy.websocket import Frames

DATA = (Opcode.CONT, Opcode.TEXT, Opcode.BINARY)
CONTROL = (Opcode.CLOSE, Opcode.PING, Opcode.PONG)


def serialized(opcode: Opcode, size: int, fin: bool, compressed: bool, masked: bool) -> bytes:
    data = Frame(opcode, bytes(size), fin).serialize(mask=masked)
    return bytes((data[0] | 0x40,)) + data[1:] if compressed else data


frames = st.one_of(
    st.builds(
        lambda opcode, size, fin, *flags: (serialized(opcode, size, fin, *flags), fin),
        st.sampled_from(DATA),
        st.sampled_from((0, 1, 125, 126, 127, 300, 65535, 65536, 65600)),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda opcode, size, masked: (serialized(opcode, size, True, False, masked), False),
        st.sampled_from(CONTROL),
        st.integers(0, 125),
        st.booleans(),
    ),
)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[list[bytes], int, set[int]]:
    """A stream in pieces, the messages in it, and the places where a frame ends."""
    made = draw(st.lists(frames, min_size=1, max_size=6))
    stream = b"".join(data for data, _ in made)
    ends = set()
    at = 0
    for data, _ in made:
        at += len(data)
        ends.add(at)
    near = st.sampled_from(sorted(ends)).flatmap(lambda end: st.integers(end - 15, end + 15))
    cuts = draw(st.lists(st.one_of(near, st.integers(0, len(stream))), max_size=12))
    places = [0, *sorted(min(max(cut, 0), len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    return pieces, sum(whole for _, whole in made), ends


@given(cut_streams())
def test_a_stream_cut_anywhere_has_its_messages_and_its_frame_ends(
    stream: tuple[list[bytes], int, set[int]],
) -> None:
    pieces, messages, ends = stream
    follower = Frames()
    at = 0
    for piece in pieces:
        assert follower.follow(piece) == len(piece)
        at += len(piece)
        assert follower.between == (at == 0 or at in ends)
    assert follower.messages == messages


@given(cut_streams())
def test_told_to_stop_it_stops_at_the_first_end_of_a_frame(
    stream: tuple[list[bytes], int, set[int]],
) -> None:
    pieces, _, ends = stream
    follower = Frames()
    at = 0
    for piece in pieces:
        left = memoryview(piece)
        while left:
            step = follower.follow(left, one=True)
            assert step
            nearest = min(end for end in ends if end > at)
            assert at + step == min(nearest, at + len(left))
            at += step
            left = left[step:]
    assert follower.between


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_what_is_no_websocket_is_followed_to_its_end(pieces: list[bytes]) -> None:
    follower = Frames()
    for piece in pieces:
        assert follower.follow(piece) == len(piece)


def test_no_bytes_leave_it_between_frames() -> None:
    follower = Frames()
    assert follower.follow(b"") == 0
    assert follower.between
    assert follower.messages == 0


def test_a_part_of_a_header_is_inside_a_frame() -> None:
    follower = Frames()
    follower.follow(b"\x82")
    assert not follower.between


def test_an_empty_frame_is_a_message_and_ends_with_its_header() -> None:
    follower = Frames()
    assert follower.follow(b"\x81\x00", one=True) == 2
    assert follower.between
    assert follower.messages == 1


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_control_frames_between_fragments_are_no_messages(opcode: Opcode) -> None:
    follower = Frames()
    follower.follow(Frame(Opcode.TEXT, b"a", False).serialize(mask=True))
    follower.follow(Frame(opcode, b"").serialize(mask=True))
    assert follower.messages == 0
    follower.follow(Frame(Opcode.CONT, b"b", True).serialize(mask=True))
    assert follower.messages == 1


def test_a_frame_longer_than_memory_is_followed_without_holding_it() -> None:
    follower = Frames()
    follower.follow(b"\x82\x7f" + (1 << 62).to_bytes(8))
    for _ in range(100):
        follower.follow(bytes(65536))
    assert not follower.between
    assert follower.messages == 1
