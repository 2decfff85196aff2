from __future__ import annotations

import tracemalloc

import pytest

from gateway.http1.chunked import BadChunk, ChunkedDecoder, chunked
from tests.http1.reading import decoded

END = b"0\r\n\r\n"


def test_chunks_are_the_body_and_what_follows_is_kept() -> None:
    decoder = ChunkedDecoder()
    assert decoded([b"5\r\nhello\r\n1\r\n!\r\n" + END + b"GET /"], decoder) == (b"hello!", b"GET /")
    assert decoder.done
    assert decoder.trailers == []


def test_pieces_are_views_of_what_arrived() -> None:
    data = b"5\r\nhello\r\n"
    (piece,) = ChunkedDecoder().feed(data)
    assert piece.obj is data


def test_body_without_a_byte_is_only_its_last_chunk() -> None:
    assert decoded([END]) == (b"", b"")


@pytest.mark.parametrize("size", [b"a", b"A", b"0a", b"00000000000000a"])
def test_size_is_hexadecimal_in_any_case(size: bytes) -> None:
    assert decoded([size + b"\r\n" + b"x" * 10 + b"\r\n" + END]) == (b"x" * 10, b"")


@pytest.mark.parametrize(
    "extension", [b";", b";a", b";a=b", b' ;a="b c"', b"\t; a = \xe9", b";" * 9]
)
def test_extension_is_dropped(extension: bytes) -> None:
    assert decoded([b"1" + extension + b"\r\nx\r\n0" + extension + b"\r\n\r\n"]) == (b"x", b"")


@pytest.mark.parametrize("at", range(1, len(b"5;a=b\r")))
def test_extension_may_arrive_in_two_parts(at: int) -> None:
    data = b"5;a=b\r\nhello\r\n" + END
    assert decoded([data[:at], data[at:]]) == (b"hello", b"")


def test_extension_is_taken_up_to_its_limit() -> None:
    assert decoded([b"1;" + b"e" * 255 + b"\r\nx\r\n" + END]) == (b"x", b"")


@pytest.mark.parametrize("parts", [1, 2])
def test_extension_over_its_limit_is_refused(parts: int) -> None:
    line = b"1;" + b"e" * 256 + b"\r\n"
    half = len(line) // parts
    with pytest.raises(BadChunk, match="too long"):
        decoded([line[:half], line[half:]])


def test_extension_without_end_is_refused_before_it_ends() -> None:
    with pytest.raises(BadChunk):
        decoded([b"1;"] + [b"e"] * 300)


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n", b"+5\r\n", b"-5\r\n", b"0x5\r\n", b"5 \r\n", b" 5\r\n", b"5\n", b"5\r5",
        b"5_0\r\n",
        b"g\r\n", b";\r\n", b"5\x00\r\n", b"5;\x00\r\n", b"5;a\nb\r\n", b"5;a\rb\r\n",
        b"1" * 16 + b"\r\n", "٣\r\n".encode(), b"\n", b"5,5\r\n", b"5\r\r\n",
    ],
)  # fmt: skip
def test_size_of_another_form_is_refused(line: bytes) -> None:
    with pytest.raises(BadChunk):
        decoded([line + b"hello\r\n" + END])
    with pytest.raises(BadChunk):
        decoded([bytes((byte,)) for byte in line + b"hello\r\n" + END])


@pytest.mark.parametrize("end", [b"\n", b"x\r\n", b"\rx", b"\r\r\n", b"0\r\n\r\n"])
def test_chunk_that_does_not_end_where_it_said_is_refused(end: bytes) -> None:
    with pytest.raises(BadChunk, match="longer than its size"):
        decoded([b"5\r\nhello" + end])


def test_line_end_behind_a_chunk_may_arrive_in_two_parts() -> None:
    assert decoded([b"5\r\nhello\r", b"\n" + END]) == (b"hello", b"")


@pytest.mark.parametrize("parts", [1, 99])
def test_trailers_are_kept_as_they_came(parts: int) -> None:
    decoder = ChunkedDecoder()
    data = b"0\r\nA: 1\r\nb:2\r\n\r\nrest"
    split = [data] if parts == 1 else [bytes((byte,)) for byte in data]
    assert decoded(split, decoder) == (b"", b"rest")
    assert decoder.trailers == [b"A: 1", b"b:2"]


@pytest.mark.parametrize(
    "trailer",
    [
        b"A\r\n\r\n",
        b"A : 1\r\n\r\n",
        b" A: 1\r\n\r\n",
        b"A: 1\r\n b\r\n\r\n",
        b"A: \x00\r\n\r\n",
        b"A: 1\rB: 2\r\n\r\n",
        b"\nA: 1\r\n\r\n",
        b"A: 1\n\r\n\r\n",
    ],
)
def test_trailer_outside_the_grammar_is_refused(trailer: bytes) -> None:
    with pytest.raises(BadChunk):
        decoded([b"0\r\n" + trailer])


@pytest.mark.parametrize("trailer", [b"\n", b"A: 1\n", b"A: 1\n\r"])
def test_trailer_that_ends_in_a_bare_lf_is_refused_at_once(trailer: bytes) -> None:
    with pytest.raises(BadChunk, match="bare LF"):
        decoded([b"0\r\n", trailer])


def test_trailers_up_to_the_limit_pass() -> None:
    decoder = ChunkedDecoder(trailer_bytes=10)
    decoded([b"0\r\nA: 4567890\r\n\r\n"], decoder)
    assert decoder.trailers == [b"A: 4567890"]


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_trailers_over_the_limit_are_refused(end: bytes) -> None:
    with pytest.raises(BadChunk, match="too large"):
        decoded([b"0\r\nA: 45678901" + end], ChunkedDecoder(trailer_bytes=10))


def test_decoder_that_is_fed_byte_by_byte_holds_next_to_nothing() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"fffffffffffffff\r\n")
    tracemalloc.start()
    try:
        for _ in range(5000):
            decoder.feed(b"x")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1000


def test_pieces_are_framed_without_a_copy() -> None:
    piece = memoryview(b"x" * 300)
    framed = chunked([piece, b"!"])
    assert framed[1] is piece
    assert b"".join(framed) == b"12c\r\n" + b"x" * 300 + b"\r\n1\r\n!\r\n"


def test_no_pieces_are_no_chunks() -> None:
    assert chunked([]) == []
