"""Answers compressed on their way to the client (RFC 9110, 8.4), if the client takes it.

The theory. A `Squeezer` is an answer's outlet. What comes is held until the source pauses or the
answer is whole, then coded: here when it is small, else on a thread, one job at a time, so that
order is kept. While a job runs the source is paused, and what was already under way waits. So at
most a read or two of a body are held, and a source that pauses has all it sent reach the client.

The head waits for the first of it: an answer that is whole by then, as most are, gets a
Content-Length again, or passes as it came where coding it saved nothing.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from gateway.delivery import Delivery
from gateway.errors import GatewayError
from gateway.exchange import Answer, Exchange, Head, Outlet, Piece
from gateway.http1.codings import AS_IT_IS, Choices
from gateway.http1.encoders import ENCODERS, Encoder
from gateway.http1.fields import CHUNKED, name_of, tokens, value_of
from gateway.telemetry.instruments import CounterCell

OFFLOAD: Final = 16384  # bytes: gzip takes 0.7 ms for so many, a thread costs 0.1 ms
GATHER: Final = 262144  # bytes that are held at most until a source pauses

VARY: Final = b"Vary: Accept-Encoding"
# 1xx and 204 have no body, a 206 is a part of one, a 304 speaks of what the client has.
UNTOUCHED: Final = frozenset((204, 205, 206, 304))
# Coding makes them untrue, or nobody could use them: RFC 9110, 14.3; RFC 9530, 2 and 3.
UNTRUE: Final = frozenset(
    (b"content-length", b"accept-ranges", b"content-md5", b"digest", b"content-digest",
     b"repr-digest")
)  # fmt: skip
NEVER: Final = b"text/event-stream"


PASS, FLUSH, END = range(3)


class Compression:
    """A route's way of compressing."""

    def __init__(
        self,
        *,
        codings: Iterable[str],
        types: Iterable[str],
        min_size: int,
        saved: CounterCell,
        executor: Executor,
        loop: AbstractEventLoop,
    ) -> None:
        """`min_size` is in bytes, and so is what `saved` counts; `executor` codes what is large."""
        self.choices = Choices([coding.encode() for coding in codings])
        self.min_size = min_size
        self.saved = saved
        self.executor = executor
        self.loop = loop
        names = [each.encode() for each in types]
        self._types = frozenset(names)
        self._begins = tuple(name[:-1] for name in names if name.endswith(b"/*"))
        self._ends = tuple(name[1:] for name in names if name.startswith(b"*"))

    def enter(self, exchange: Exchange) -> None:
        exchange.outlet = Squeezer(self, exchange, exchange.outlet or Delivery(exchange))

    def fits(self, media_type: bytes) -> bool:
        """Whether a Content-Type is one of those that compressing is for."""
        kind = media_type.partition(b";")[0].rstrip(b" \t").lower()
        if kind == NEVER:
            return False
        return kind in self._types or kind.startswith(self._begins) or kind.endswith(self._ends)


class Squeezer:
    """One answer."""

    __slots__ = (
        "_begun",
        "_busy",
        "_encoder",
        "_ended",
        "_exchange",
        "_flush",
        "_head",
        "_held",
        "_inner",
        "_size",
        "_taken",
        "_trailers",
        "_way",
        "_written",
    )

    def __init__(self, way: Compression, exchange: Exchange, inner: Outlet) -> None:
        self._way = way
        self._exchange = exchange
        self._inner = inner
        self._encoder: Encoder | None = None  # none: what comes passes as it is

    # --------------------------------------------------------------------------------- the head

    def begin(self, head: Head) -> None:
        request = self._exchange.head
        # Most of what is small needs no closer look: nothing is refused without a weight of 0.
        if 0 < head.length < self._way.min_size and b"=0" not in request.block:
            self._inner.begin(head)
            return
        answer = answer_of(head)
        seen = Seen(answer.lines)
        if head.status == 304 and weaken_known(answer.lines, request.values(b"if-none-match")):
            answer.lines += () if seen.varies else (VARY,)
        if not self._may_code(answer, seen):
            self._inner.begin(answer)
            return
        wanted = b",".join(request.values(b"accept-encoding"))
        choice = self._way.choices[wanted] if wanted else AS_IT_IS
        if 0 < answer.length < self._way.min_size and not choice.demanded:
            self._inner.begin(answer)
            return
        if not seen.varies:
            answer.lines.append(VARY)
        if choice.coding is None or not answer.length:
            self._inner.begin(answer)
            return
        self._head = answer, choice.coding
        self._encoder = ENCODERS[choice.coding]()
        self._held: list[Piece] = []
        self._trailers: Sequence[bytes] = ()
        self._size = self._taken = self._written = 0
        self._begun = self._busy = self._flush = self._ended = False

    def _may_code(self, answer: Answer, seen: Seen) -> bool:
        if answer.status in UNTOUCHED or seen.fixed or not self._way.fits(seen.media_type):
            return False
        asked = self._exchange.head.values(b"cache-control")  # RFC 9111, 5.2.1.6
        return not any(b"no-transform" in tokens(value) for value in asked)

    def _begin(self, length: int) -> None:
        """Send the head, now that it is clear what follows."""
        self._begun = True
        answer, coding = self._head
        lines = [line for line in answer.lines if name_of(line) not in UNTRUE]
        weaken(lines)
        lines.append(b"Content-Encoding: " + coding)
        if length >= 0:
            lines.append(b"Content-Length: %d" % length)
        self._inner.begin(Answer(answer.status, lines, length, answer.trailer, answer.first))

    # --------------------------------------------------------------------------------- the body

    def write(self, pieces: list[Piece]) -> None:
        if self._encoder is None:
            self._inner.write(pieces)
            return
        self._held += pieces
        self._size += sum(map(len, pieces))
        if self._size > GATHER and not self._busy:
            self._code()

    def flush(self) -> None:
        if self._encoder is None:
            self._inner.flush()
            return
        self._flush = True
        if not self._busy:
            self._code()
        if self._busy:
            self._pause()
            # Again, for the source begins to count its silence as soon as this returns.
            self._way.loop.call_soon(self._pause)

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        if self._encoder is None:
            self._inner.end(trailers)
            return
        self._ended = True
        self._trailers = trailers
        if not self._busy:
            self._code()

    def fail(self, error: GatewayError) -> None:
        self._encoder = None
        self._inner.fail(error)

    # ------------------------------------------------------------------------------- the coding

    def _code(self) -> None:
        """Code what is held: on a thread, if that would hold up everybody else."""
        encoder = self._encoder
        assert encoder is not None
        pieces, size, self._held, self._size = self._held, self._size, [], 0
        last = END if self._ended else FLUSH if self._flush else PASS
        self._flush = False
        self._taken += size
        if size <= OFFLOAD:
            self._coded(code(encoder, pieces, last), pieces, last)
            return
        self._busy = True
        job = self._way.loop.run_in_executor(self._way.executor, code, encoder, pieces, last)
        job.add_done_callback(lambda job: self._returned(job, pieces, last))

    def _returned(self, job: Future[bytes], pieces: list[Piece], last: int) -> None:
        """A thread is done. The client may have left since, or been told something else."""
        self._busy = False
        error = None if job.cancelled() else job.exception()
        client = self._exchange.client
        if self._encoder is None or client.exchange is not self._exchange:
            return
        if error is not None or job.cancelled():
            self.fail(GatewayError())
            return
        self._coded(job.result(), pieces, last)
        if last == END:
            return
        self._inner.flush()
        if self._ended or self._flush or self._size > GATHER:
            self._code()
        sink = client.sink
        if not (self._ended or self._busy or client.full or sink is None):
            sink.unblocked()

    def _pause(self) -> None:
        """Have the source wait for a job. A client that takes more again may have woken it."""
        client = self._exchange.client
        if self._busy and client.exchange is self._exchange and client.sink is not None:
            client.sink.blocked()

    def _coded(self, data: bytes, pieces: list[Piece], last: int) -> None:
        """Pass on what came out of the encoder."""
        inner = self._inner
        if last == END and not self._begun and len(data) >= self._taken:
            answer, _ = self._head
            answer.length = self._taken
            self._encoder = None
            inner.begin(answer)
            inner.write(pieces)
            inner.end(self._trailers)
            return
        if not self._begun:
            self._begin(len(data) if last == END and not self._trailers else CHUNKED)
        self._written += len(data)
        if data:
            inner.write([data])
        if last == FLUSH:
            inner.flush()
        elif last == END:
            self._way.saved.inc(max(0, self._taken - self._written))
            inner.end(self._trailers)


def code(encoder: Encoder, pieces: list[Piece], last: int) -> bytes:
    """What these pieces become; `last` says what is to come behind them."""
    coded = [encoder.add(piece) for piece in pieces]
    if last == END:
        coded.append(encoder.end())
    elif last == FLUSH and pieces:
        coded.append(encoder.flush())
    return b"".join(coded)


class Seen:
    """What a head's lines say about coding the body."""

    __slots__ = ("fixed", "media_type", "varies")

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.media_type = b""
        self.fixed = False  # coded already, a part, or not to be changed
        self.varies = False  # it says so itself that it depends on what the client takes
        for line in lines:
            name = name_of(line)
            if name == b"content-type":
                self.media_type = value_of(line)
            elif name in (b"content-encoding", b"content-range"):
                self.fixed = True
            elif name == b"cache-control":
                self.fixed = self.fixed or b"no-transform" in tokens(value_of(line))
            elif name == b"vary":
                varies = tokens(value_of(line))
                self.varies = self.varies or b"accept-encoding" in varies or b"*" in varies


def answer_of(head: Head) -> Answer:
    """A copy of a head that can be changed."""
    if isinstance(head, Answer):
        return replace(head, lines=[*head.lines])
    first, *lines = head.text.split(b"\r\n")[:-1]
    return Answer(head.status, lines, head.length, head.trailer, first)


def weaken(lines: list[bytes]) -> None:
    """Make a strong ETag a weak one: the bytes are others, the meaning is the same."""
    for at, line in enumerate(lines):
        if name_of(line) == b"etag" and not value_of(line).startswith(b"W/"):
            lines[at] = b"ETag: W/" + value_of(line)


def weaken_known(lines: list[bytes], known: Iterable[bytes]) -> bool:
    """In a 304, name the ETag as the client was given it: weak, if it was given a coded body."""
    given = b",".join(known)
    for at, line in enumerate(lines):
        if name_of(line) == b"etag" and b"W/" + value_of(line) in given:
            lines[at] = b"ETag: W/" + value_of(line)
            return True
    return False
