"""A request that waits: for a store's answer, for its own body, for another request.

Deciding about a request may need I/O. Until it is decided, its body is held back: what came is
kept, and beyond `HELD` bytes the client is not read. A client that leaves ends the wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

from gateway.errors import PayloadTooLarge
from gateway.exchange import Exchange, Piece

HELD: Final = 65536  # bytes of a body that are taken before somebody wants them

T = TypeVar("T")


class Waiting(Generic[T]):
    """The client's sink for as long as `coroutine` runs; then `then` gets the finished task.

    `then` answers the exchange or hands it on: whoever is the client's sink after that gets what
    was held back.
    """

    __slots__ = (
        "_client",
        "_ended",
        "_exchange",
        "_limit",
        "_pieces",
        "_size",
        "_task",
        "_then",
        "_wanted",
    )

    def __init__(
        self,
        exchange: Exchange,
        coroutine: Coroutine[Any, Any, T],
        then: Callable[[asyncio.Task[T]], None],
    ) -> None:
        self._exchange = exchange
        self._client = exchange.client
        self._pieces: list[Piece] = []
        self._size = 0
        self._limit = HELD
        self._ended = False
        self._wanted: asyncio.Future[None] | None = None
        self._then = then
        exchange.client.sink = self
        exchange.waiting = self
        self._task = asyncio.get_running_loop().create_task(coroutine)
        self._task.add_done_callback(self._done)

    async def body(self, limit: int) -> bytes:
        """The whole body, of at most `limit` bytes. Raises `PayloadTooLarge`."""
        if self._exchange.head.length > limit:
            raise PayloadTooLarge
        if self._exchange.head.length and not self._ended:
            self._wanted = asyncio.get_running_loop().create_future()
            self._limit = limit
            self._client.proceed()
            self._client.resume()
            self._check()
            await self._wanted
        return b"".join(self._pieces)

    def _done(self, task: asyncio.Task[T]) -> None:
        client = self._client
        if task.cancelled() or client.exchange is not self._exchange or client.sink is not self:
            return
        client.sink = self._exchange.waiting = None
        self._then(task)
        sink = self._client.sink  # whoever answers now
        if sink is None or self._client.exchange is not self._exchange:
            return  # answered; the connection may be at the next request already
        client.resume()
        if self._pieces:
            sink.received(self._pieces)
        if self._ended and self._client.sink is sink:
            sink.ended()

    def _check(self) -> None:
        wanted = self._wanted
        if self._size <= self._limit:
            return
        if wanted is None:
            self._client.pause()
        elif not wanted.done():
            wanted.set_exception(PayloadTooLarge(closes=True))

    # ----------------------------------------------------------------------- the client's part

    def received(self, pieces: Sequence[Piece]) -> None:
        self._pieces.extend(pieces)
        self._size += sum(map(len, pieces))
        self._check()

    def ended(self) -> None:
        self._ended = True
        if self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)

    def blocked(self) -> None:
        """Nothing is sent yet."""

    def unblocked(self) -> None:
        """Nothing waits to be sent."""

    def abandoned(self) -> None:
        self._task.cancel()

    def going_away(self) -> None:
        """Nothing: an exchange is let finish."""
