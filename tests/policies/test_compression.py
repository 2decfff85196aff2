from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError, UpstreamClosed
from gateway.exchange import Answer, Head, Piece
from gateway.http1.encoders import ENCODERS, Gzip
from gateway.http1.fields import CHUNKED, UNTIL_CLOSE
from gateway.policies.compression import GATHER, OFFLOAD, Compression, Squeezer
from tests.http1.reading import Nobody, exchange, response, values
from tests.still_loop import StillLoop

TEXT = b"Content-Type: text/plain; charset=utf-8"
BODY = b"so much of the same " * 200
LARGE = b"0123456789abcdef" * (OFFLOAD // 16 + 1)
DECODE: dict[bytes, Callable[[bytes], bytes]] = {
    b"zstd": zstd.decompress,
    b"br": brotli.decompress,
    b"gzip": lambda data: zlib.decompress(data, 31),
}


class Recorder:
    """The outlet behind: what it was told, in order."""

    def __init__(self) -> None:
        self.head: Head | None = None
        self.body = b""
        self.sent = 0  # bytes that a flush let go
        self.trailers: Sequence[bytes] | None = None
        self.error: GatewayError | None = None

    def begin(self, head: Head) -> None:
        assert self.head is None
        self.head = head

    def write(self, pieces: list[Piece]) -> None:
        assert self.head is not None
        assert self.trailers is None
        self.body += b"".join(pieces)

    def flush(self) -> None:
        self.sent = len(self.body)

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        assert self.trailers is None
        self.trailers = trailers

    def fail(self, error: GatewayError) -> None:
        self.error = error

    @property
    def lines(self) -> list[bytes]:
        assert isinstance(self.head, Answer)
        return self.head.lines

    def values(self, name: bytes) -> list[bytes]:
        return values(self.lines, name)


class Source:
    """The sink of a client, which is told when to wait."""

    def __init__(self) -> None:
        self.waits = False

    def blocked(self) -> None:
        self.waits = True

    def unblocked(self) -> None:
        self.waits = False


class Hand(Executor):
    """Does a job when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args)))
        return future

    def work(self) -> None:
        future, job = self.jobs.pop(0)
        try:
            future.set_result(job())
        except MemoryError as error:
            future.set_exception(error)


class Counted:
    def __init__(self) -> None:
        self.total = 0.0

    def inc(self, n: float = 1.0) -> None:
        self.total += n


class Scene:
    """An answer on its way through compression."""

    def __init__(
        self,
        accept: bytes | None = b"gzip",
        *more: bytes,
        loop: asyncio.AbstractEventLoop | None = None,
        method: bytes = b"GET",
        types: Sequence[str] = ("text/*", "*+json", "application/json"),
        codings: Sequence[str] = ("zstd", "br", "gzip"),
    ) -> None:
        lines = () if accept is None else (b"Accept-Encoding: " + accept,)
        self.exchange = exchange(*lines, *more, first=method + b" / HTTP/1.1")
        self.hand = Hand()
        self.saved = Counted()
        self.source = Source()
        self.out = Recorder()
        self.client: Any = self.exchange.client
        assert isinstance(self.client, Nobody)
        self.client.exchange = self.exchange
        self.client.sink = self.source
        self.client.full = False
        self.way = Compression(
            codings=codings,
            types=types,
            min_size=1024,
            saved=self.saved,  # type: ignore[arg-type]
            executor=self.hand,
            loop=loop or StillLoop(),
        )
        self.squeezer = Squeezer(self.way, self.exchange, self.out)

    def begin(self, *lines: bytes, status: int = 200, length: int = CHUNKED) -> Squeezer:
        self.squeezer.begin(Answer(status, list(lines), length))
        return self.squeezer

    def whole(self, body: bytes, *lines: bytes, status: int = 200) -> Recorder:
        """An answer that is there at once."""
        self.begin(*lines, b"Content-Length: %d" % len(body), status=status, length=len(body))
        self.squeezer.write([body])
        self.squeezer.end()
        return self.out

    async def work(self) -> None:
        """Have the job done, and the loop hear of it."""
        self.hand.work()
        await turns()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def decoded(out: Recorder) -> bytes:
    (coding,) = out.values(b"content-encoding")
    return DECODE[coding](out.body)


# ----------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize("coding", ENCODERS)
def test_answer_that_is_whole_is_coded_and_has_its_length(coding: bytes) -> None:
    scene = Scene(coding)
    out = scene.whole(BODY, TEXT, b'ETag: "x"', b"Date: now")
    assert decoded(out) == BODY
    assert out.head is not None
    assert out.head.length == len(out.body) < len(BODY)
    assert out.values(b"content-length") == [b"%d" % len(out.body)]
    assert out.values(b"content-encoding") == [coding]
    assert out.values(b"vary") == [b"Accept-Encoding"]
    assert out.values(b"etag") == [b'W/"x"']
    assert out.values(b"date") == [b"now"]
    assert out.trailers == ()
    assert scene.saved.total == len(BODY) - len(out.body)


def test_fields_that_coding_makes_untrue_are_dropped() -> None:
    untrue = (b"Accept-Ranges: bytes", b"Content-MD5: x", b"Repr-Digest: x", b"Content-Digest: x")
    out = Scene().whole(BODY, TEXT, *untrue, b"X-Digest: kept")
    assert {line.partition(b":")[0] for line in out.lines} == {
        b"Content-Type", b"X-Digest", b"Vary", b"Content-Encoding", b"Content-Length"
    }  # fmt: skip


def test_answer_that_does_not_shrink_passes_as_it_came() -> None:
    scene = Scene()
    noise = random.Random(1).randbytes(4000)
    out = scene.whole(noise, TEXT, b'ETag: "x"')
    assert out.body == noise
    assert out.head is not None
    assert out.head.length == 4000
    assert out.values(b"content-encoding") == []
    assert out.values(b"etag") == [b'"x"']
    assert out.values(b"vary") == [b"Accept-Encoding"]
    assert out.trailers == ()
    assert scene.saved.total == 0


@pytest.mark.parametrize(
    ("lines", "varies"),
    [
        ((TEXT, b"Content-Encoding: br"), False),
        ((TEXT, b"Content-Encoding: gzip"), False),
        ((TEXT, b"Content-Range: bytes 0-9/10"), False),
        ((TEXT, b"Cache-Control: public, No-Transform"), False),
        ((b"Content-Type: text/event-stream",), False),
        ((b"Content-Type: Text/Event-Stream; charset=utf-8",), False),
        ((b"Content-Type: image/png",), False),
        ((b"Content-Type: application/jsonp",), False),
        ((), False),
    ],
)
def test_answer_that_is_not_to_be_coded_passes_as_it_came(
    lines: tuple[bytes, ...], varies: bool
) -> None:
    out = Scene().whole(BODY, *lines)
    assert out.body == BODY
    assert out.lines == [*lines, b"Content-Length: 4000"]


@pytest.mark.parametrize("status", [204, 205, 206, 304])
def test_status_that_is_not_to_be_coded_passes(status: int) -> None:
    out = Scene().whole(BODY, TEXT, status=status)
    assert out.body == BODY
    assert out.values(b"vary") == []


@pytest.mark.parametrize("status", [200, 201, 404, 500])
def test_other_status_is_coded(status: int) -> None:
    assert decoded(Scene().whole(BODY, TEXT, status=status)) == BODY


@pytest.mark.parametrize(
    "kind", [b"text/html", b"TEXT/CSS", b"application/json ;x=y", b"application/geo+json"]
)
def test_types_are_compared_without_case_and_parameters(kind: bytes) -> None:
    assert decoded(Scene().whole(BODY, b"content-type:" + kind)) == BODY


def test_request_can_forbid_it() -> None:
    out = Scene(b"gzip", b"Cache-Control: no-transform").whole(BODY, TEXT)
    assert out.body == BODY
    assert out.values(b"vary") == []


@pytest.mark.parametrize("accept", [None, b"", b"identity", b"gzip;q=0", b"deflate"])
def test_client_that_takes_no_coding_gets_none_and_is_told_that_it_matters(
    accept: bytes | None,
) -> None:
    out = Scene(accept).whole(BODY, TEXT, b'ETag: "x"')
    assert out.body == BODY
    assert out.values(b"content-encoding") == []
    assert out.values(b"etag") == [b'"x"']
    assert out.values(b"vary") == [b"Accept-Encoding"]


def test_codings_that_are_not_offered_are_not_used() -> None:
    out = Scene(b"br, zstd, gzip;q=0.1", codings=["gzip"]).whole(BODY, TEXT)
    assert out.values(b"content-encoding") == [b"gzip"]


@pytest.mark.parametrize("size", [1, 1023])
def test_small_answer_passes_and_does_not_vary(size: int) -> None:
    out = Scene().whole(b"a" * size, TEXT)
    assert out.lines == [TEXT, b"Content-Length: %d" % size]


def test_small_answer_to_a_client_with_weights_passes_too() -> None:
    out = Scene(b"gzip;q=0.5, br;q=0").whole(b"a" * 1000, TEXT)
    assert out.lines == [TEXT, b"Content-Length: 1000"]


def test_head_that_was_not_made_up_is_not_changed_itself() -> None:
    scene, head = Scene(), response(TEXT, b"ETag: x", b"Content-Length: 4000")
    scene.squeezer.begin(head)
    scene.squeezer.write([BODY])
    scene.squeezer.end()
    assert scene.out.values(b"etag") == [b"W/x"]
    assert head.lines == [TEXT, b"ETag: x", b"Content-Length: 4000"]
    assert decoded(scene.out) == BODY


def test_answer_that_is_kept_by_others_is_not_changed_itself() -> None:
    scene, kept = Scene(), Answer(200, [TEXT, b'ETag: "x"'], 4000)
    scene.squeezer.begin(kept)
    scene.squeezer.write([BODY])
    scene.squeezer.end()
    assert kept == Answer(200, [TEXT, b'ETag: "x"'], 4000)
    assert scene.out.values(b"etag") == [b'W/"x"']


def test_small_answer_is_coded_for_a_client_that_takes_nothing_else() -> None:
    out = Scene(b"identity;q=0, gzip").whole(b"a" * 1000, TEXT)
    assert decoded(out) == b"a" * 1000


@pytest.mark.parametrize("given", [b"accept-encoding", b"Origin, Accept-Encoding", b"*"])
def test_answer_that_varies_already_says_so_once(given: bytes) -> None:
    assert Scene().whole(BODY, TEXT, b"Vary: " + given).values(b"vary") == [given]


def test_vary_of_an_answer_is_kept() -> None:
    out = Scene().whole(BODY, TEXT, b"Vary: Origin")
    assert out.values(b"vary") == [b"Origin", b"Accept-Encoding"]


@pytest.mark.parametrize("tag", [b'W/"x"'])
def test_weak_etag_stays(tag: bytes) -> None:
    assert Scene().whole(BODY, TEXT, b"ETag: " + tag).values(b"etag") == [tag]


def test_head_of_what_would_be_coded_says_that_it_varies() -> None:
    scene = Scene(method=b"HEAD")
    scene.begin(TEXT, b"Content-Length: 4000", length=0).end()
    assert scene.out.values(b"content-length") == [b"4000"]
    assert scene.out.values(b"content-encoding") == []
    assert scene.out.values(b"vary") == [b"Accept-Encoding"]
    assert scene.out.trailers == ()


# --------------------------------------------------------------------------------- not modified


def test_304_names_the_etag_as_the_client_knows_it() -> None:
    scene = Scene(b"gzip", b'If-None-Match: "y", W/"x"')
    scene.begin(b'ETag: "x"', status=304, length=0).end()
    assert scene.out.lines == [b'ETag: W/"x"', b"Vary: Accept-Encoding"]


@pytest.mark.parametrize("known", [b'"x"', b'W/"y"', b"*"])
def test_304_for_what_was_not_coded_is_as_it_came(known: bytes) -> None:
    scene = Scene(b"gzip", b"If-None-Match: " + known)
    scene.begin(b'ETag: "x"', status=304, length=0).end()
    assert scene.out.lines == [b'ETag: "x"']


def test_304_that_varies_already_says_so_once() -> None:
    scene = Scene(b"gzip", b'If-None-Match: W/"x"')
    scene.begin(b"Vary: Accept-Encoding", b'ETag: "x"', status=304, length=0).end()
    assert scene.out.lines == [b"Vary: Accept-Encoding", b'ETag: W/"x"']


# -------------------------------------------------------------------------------------- streams


def test_source_that_pauses_has_reached_the_client() -> None:
    scene = Scene()
    stream = scene.begin(TEXT)
    decoder = zlib.decompressobj(31)
    seen = 0
    for piece in (b"first", b"second", b"third"):
        stream.write([piece])
        stream.flush()
        out = scene.out.body[seen : scene.out.sent]
        seen = scene.out.sent
        assert decoder.decompress(out) == piece
    stream.end()
    assert decoder.decompress(scene.out.body[seen:]) == b""
    assert decoder.eof
    assert scene.out.head is not None
    assert scene.out.head.length == CHUNKED
    assert scene.out.values(b"content-length") == []


def test_head_that_comes_alone_goes_on_alone() -> None:
    scene = Scene()
    stream = scene.begin(TEXT, length=UNTIL_CLOSE)
    assert scene.out.head is None
    stream.flush()
    assert scene.out.values(b"content-encoding") == [b"gzip"]
    assert scene.out.body == b""
    stream.write([BODY])
    stream.end()
    assert decoded(scene.out) == BODY


def test_trailers_come_behind() -> None:
    scene = Scene()
    scene.begin(TEXT).write([BODY])
    scene.squeezer.end([b"X-Sum: 1"])
    assert decoded(scene.out) == BODY
    assert scene.out.trailers == [b"X-Sum: 1"]
    assert scene.out.head is not None
    assert scene.out.head.length == CHUNKED


def test_small_pieces_are_gathered_until_the_source_pauses() -> None:
    scene = Scene()
    stream = scene.begin(TEXT)
    for _ in range(10):
        stream.write([b"a piece ", memoryview(b"of it")])
    assert (scene.out.head, scene.out.body) == (None, b"")
    stream.end()
    assert decoded(scene.out) == b"a piece of it" * 10


def test_stream_of_what_passes_is_passed_on() -> None:
    scene = Scene()
    stream = scene.begin(b"Content-Type: text/event-stream")
    stream.write([b"data: 1\n\n"])
    stream.flush()
    assert scene.out.sent == 9
    stream.fail(UpstreamClosed())
    assert isinstance(scene.out.error, UpstreamClosed)


def test_failure_before_anything_was_sent_can_still_be_answered() -> None:
    scene = Scene()
    scene.begin(TEXT).write([BODY])
    scene.squeezer.fail(UpstreamClosed())
    assert scene.out.head is None
    assert isinstance(scene.out.error, UpstreamClosed)


def test_stream_that_coding_made_larger_saved_nothing() -> None:
    scene = Scene()
    stream = scene.begin(TEXT)
    stream.write([b"x"])
    stream.flush()
    stream.end()
    assert scene.saved.total == 0


@given(
    st.lists(st.tuples(st.binary(max_size=2000), st.booleans()), max_size=8),
    st.sampled_from(sorted(ENCODERS)),
)
def test_body_is_the_same_however_it_came(parts: list[tuple[bytes, bool]], coding: bytes) -> None:
    scene = Scene(coding)
    stream = scene.begin(TEXT)
    for piece, pauses in parts:
        stream.write([piece])
        if pauses:
            stream.flush()
    stream.end()
    out, body = scene.out, b"".join(piece for piece, _ in parts)
    assert (decoded(out) if out.values(b"content-encoding") else out.body) == body


# ---------------------------------------------------------------------------------- on a thread


async def test_large_piece_is_coded_elsewhere_while_its_source_waits() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    assert (scene.out.body, scene.source.waits) == (b"", True)
    scene.source.unblocked()  # as a source does that begins to wait for more
    await turns()
    assert scene.source.waits
    await scene.work()
    assert not scene.source.waits
    assert scene.out.sent == len(scene.out.body) > 0
    stream.end()
    assert decoded(scene.out) == LARGE


async def test_what_comes_meanwhile_keeps_its_place() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    stream.write([b"then this"])
    stream.flush()
    stream.write([b"and that"])
    stream.end([b"X-Sum: 1"])
    assert len(scene.hand.jobs) == 1
    await scene.work()
    assert not scene.hand.jobs
    assert decoded(scene.out) == LARGE + b"then this" + b"and that"
    assert scene.out.trailers == [b"X-Sum: 1"]


async def test_large_answer_that_is_whole_still_has_its_length() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    scene.whole(LARGE, TEXT)
    assert scene.out.head is None
    await scene.work()
    assert decoded(scene.out) == LARGE
    assert scene.out.values(b"content-length") == [b"%d" % len(scene.out.body)]
    assert scene.out.trailers == ()


async def test_one_job_runs_at_a_time() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    for _ in range(3):
        stream.write([LARGE])
        stream.flush()
        assert len(scene.hand.jobs) == 1
    await turns()
    await scene.work()
    assert len(scene.hand.jobs) == 1
    assert scene.source.waits
    await scene.work()
    assert not scene.source.waits
    stream.end()
    assert decoded(scene.out) == LARGE * 3


async def test_source_that_never_pauses_is_not_gathered_without_end() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    piece = bytes(GATHER // 2)
    for _ in range(3):
        stream.write([piece])
    assert len(scene.hand.jobs) == 1
    stream.write([piece] * 3)
    assert len(scene.hand.jobs) == 1
    await scene.work()
    assert scene.out.sent == len(scene.out.body) > 0
    assert len(scene.hand.jobs) == 1
    await scene.work()
    stream.end()
    assert decoded(scene.out) == piece * 6


async def test_client_that_takes_nothing_keeps_the_source_waiting() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    await turns()
    scene.client.full = True
    await scene.work()
    assert scene.source.waits


async def test_source_that_the_client_woke_too_early_waits_again() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    await turns()
    scene.source.unblocked()
    stream.write([b"more"])
    stream.flush()
    await turns()
    assert scene.source.waits
    await scene.work()
    assert not scene.source.waits


async def test_client_that_left_gets_nothing_and_its_successor_is_left_alone() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    scene.client.exchange = exchange()  # the next one on the same connection
    scene.source.unblocked()
    await turns()
    assert not scene.source.waits
    await scene.work()
    assert (scene.out.head, scene.out.body) == (None, b"")


async def test_source_of_the_next_answer_is_not_woken_by_the_end_of_this_one() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    following = Source()
    following.blocked()

    def end(trailers: Sequence[bytes]) -> None:
        scene.client.sink = following

    scene.out.end = end  # type: ignore[method-assign]
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    stream.end()
    await scene.work()
    assert following.waits


async def test_failure_meanwhile_ends_it() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    stream.write([LARGE])
    stream.flush()
    stream.fail(UpstreamClosed())
    await scene.work()
    assert isinstance(scene.out.error, UpstreamClosed)
    assert (scene.out.head, scene.out.body) == (None, b"")


async def test_exchange_without_a_sink_is_not_woken() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    stream = scene.begin(TEXT)
    scene.client.sink = None
    stream.write([LARGE])
    stream.flush()
    await turns()
    await scene.work()
    stream.end()
    assert decoded(scene.out) == LARGE


async def test_encoder_that_fails_fails_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: Gzip, piece: Piece) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Gzip, "add", add)
    scene = Scene(loop=asyncio.get_running_loop())
    scene.whole(LARGE, TEXT)
    await scene.work()
    assert scene.out.error is not None
    assert scene.out.error.status == 500


async def test_job_that_is_cancelled_fails_the_answer() -> None:
    scene = Scene(loop=asyncio.get_running_loop())
    scene.whole(LARGE, TEXT)
    scene.hand.jobs[0][0].cancel()
    await turns()
    assert scene.out.error is not None


def test_policy_puts_itself_in_front_of_the_outlet_that_is_there() -> None:
    scene = Scene()
    scene.exchange.outlet = scene.out
    scene.way.enter(scene.exchange)
    outlet = scene.exchange.outlet
    assert isinstance(outlet, Squeezer)
    outlet.begin(Answer(200, [TEXT], len(BODY)))
    outlet.write([BODY])
    outlet.end()
    assert decoded(scene.out) == BODY
