"""A stored answer on its way to a client: whole, not modified, or a range of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway import headers
from gateway.caching import conditional, ranges
from gateway.caching.stored import Stored
from gateway.caching.wishes import Wishes
from gateway.delivery import Delivery
from gateway.exchange import Answer, Exchange, Piece
from gateway.http1.fields import without


class _Sent:
    """The client's sink while an answer goes out that nobody waits for."""

    def received(self, pieces: Sequence[Piece]) -> None:
        """Nothing: there is no body."""

    def ended(self) -> None:
        """Nothing: there is no body."""

    def blocked(self) -> None:
        """Nothing: all of it is written already."""

    def unblocked(self) -> None:
        """Nothing."""

    def abandoned(self) -> None:
        """Nothing: nobody works for it."""

    def going_away(self) -> None:
        """Nothing: it will be whole."""


SENT: Final = _Sent()
LENGTH: Final = frozenset((b"content-length",))


def send(exchange: Exchange, stored: Stored, now: float) -> None:
    """The whole answer, straight to the client: all but three lines was put together before."""
    client, head = exchange.client, exchange.head
    exchange.status = stored.status
    keep = head.keep_alive and not client.front.draining
    more = exchange.lines
    if not keep:
        more = (*more, headers.CLOSE_LINE)
    elif not head.minor:
        more = (*more, headers.KEEP_ALIVE_LINE)
    client.out.append(
        b"%b%bX-Request-ID: %b\r\n%b\r\n"
        % (
            stored.text,
            stored.tail(now),
            exchange.request_id,
            b"\r\n".join((*more, b"")) if more else b"",
        )
    )
    if stored.body and head.method == b"GET":
        client.out.append(stored.body)
        exchange.body_sent = len(stored.body)
    client.finish(keep)


def serve(exchange: Exchange, stored: Stored, wishes: Wishes, now: float) -> None:
    """What the client wants of the answer (RFC 9111, 4.3.2; RFC 9110, 13.2.2)."""
    whole = stored.status == 200 and not wishes.plain
    if whole and conditional.unchanged(wishes, stored.etag, stored.last_modified, stored.sent):
        lines = conditional.without_body_fields(stored.lines)
        _hand_over(exchange, Answer(304, [*lines, *stored.tail_lines(now)]), b"")
        return
    if whole and wishes.range is not None and exchange.head.method == b"GET":
        part = _part(stored, wishes)
        if part is not None:
            _send_range(exchange, stored, part, now)
            return
    if exchange.outlet is None:
        send(exchange, stored, now)
        return
    body = stored.body if exchange.head.method == b"GET" else b""
    lines = [*stored.lines, *stored.tail_lines(now)]
    _hand_over(exchange, Answer(stored.status, lines, len(body), None, stored.first), body)


def _part(stored: Stored, wishes: Wishes) -> tuple[int, int] | None:
    """The range that is asked for; None where the whole is the answer."""
    same = wishes.if_range is None or conditional.same_version(
        wishes.if_range, stored.etag, stored.last_modified
    )
    if not same or wishes.range is None:
        return None
    return ranges.one_range(wishes.range, len(stored.body))


def _send_range(exchange: Exchange, stored: Stored, part: tuple[int, int], now: float) -> None:
    start, end = part
    size = len(stored.body)
    status, told = 206, b"Content-Range: bytes %d-%d/%d" % (start, end - 1, size)
    if start == end:
        status, told = 416, b"Content-Range: bytes */%d" % size
    lines = without(stored.lines, LENGTH)
    lines += (*stored.tail_lines(now), told, b"Content-Length: %d" % (end - start))
    _hand_over(exchange, Answer(status, lines, end - start), stored.body[start:end])


def _hand_over(exchange: Exchange, answer: Answer, body: bytes) -> None:
    outlet = exchange.outlet or Delivery(exchange)
    exchange.client.sink = SENT
    outlet.begin(answer)
    if body:
        outlet.write([body])
    outlet.end()
