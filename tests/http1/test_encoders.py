from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gateway.http1.encoders import ENCODERS

DECODERS: dict[bytes, Callable[[], Callable[[bytes], bytes]]] = {
    b"zstd": lambda: zstd.ZstdDecompressor().decompress,
    b"br": lambda: brotli.Decompressor().process,
    b"gzip": lambda: zlib.decompressobj(31).decompress,
}
EACH = pytest.mark.parametrize("coding", ENCODERS)


@EACH
@given(pieces=st.lists(st.binary(max_size=2000)))
def test_pieces_come_out_as_they_went_in(coding: bytes, pieces: Iterable[bytes]) -> None:
    encoder, decode = ENCODERS[coding](), DECODERS[coding]()
    coded = b"".join([*map(encoder.add, map(memoryview, pieces)), encoder.end()])
    assert (decode(coded) if coded else b"") == b"".join(pieces)


@EACH
def test_what_was_flushed_can_be_decoded_without_the_rest(coding: bytes) -> None:
    encoder, decode = ENCODERS[coding](), DECODERS[coding]()
    for piece in (b"first", b"second" * 5000, b"third"):
        assert decode(encoder.add(piece) + encoder.flush()) == piece
    assert decode(encoder.end()) == b""


def test_window_is_one_that_every_client_has_room_for() -> None:
    decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 18})
    encoder = ENCODERS[b"zstd"]()
    assert len(decoder.decompress(encoder.add(bytes(4 << 20)) + encoder.end())) == 4 << 20
