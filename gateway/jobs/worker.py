"""What a worker is made of: it takes jobs of some kinds, does them, and tells how they ended.

A job is delivered to one worker at a time; a worker that gives no sign of life loses it to another
one. So a job may be done twice, and of two results the first counts. A worker that cannot reach
the stores goes on trying; what it could not tell is delivered again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Final, TypeVar

import orjson

from gateway.errors import StoreDown
from gateway.jobs.job import KINDS, Delivery, Desk, Outcome, Queue

WAIT: Final = 2.0  # s for which one question waits for a job
PAUSE: Final = 0.5  # s between two tries while a store is down
LONGEST: Final = 3600.0
"""s that a job may take in all."""

MOST_RESULT: Final = 4 << 20  # bytes
MOST_TEXT: Final = 500  # characters of a message or a reason

log = logging.getLogger("gateway.worker")

T = TypeVar("T")


class Failed(Exception):
    """The job cannot be done, by nobody: the client is told this text."""


@dataclass(frozen=True, slots=True)
class Task:
    """One job, as who does it sees it. `input` is what the client asked for."""

    id: str
    kind: str
    input: Mapping[str, Any]
    attempt: int  # 1 for the first
    correlation_id: str  # the request's, for logs
    traceparent: str  # the request's trace, for spans
    _desk: Desk

    async def progress(self, percent: int, message: str = "") -> None:
        """Tell the client how far it is; does not matter when it cannot be told."""
        with suppress(StoreDown):
            await self._desk.progress(self.id, min(max(percent, 0), 99), text_of(message))


Handler = Callable[[Task], Awaitable[Mapping[str, Any]]]
"""Does a job; its result becomes JSON. After `Failed` it has failed, after other errors it is tried
again."""


class Worker:
    """Does jobs until it is stopped."""

    def __init__(
        self,
        desk: Desk,
        queue: Queue,
        handlers: Mapping[str, Handler],
        *,
        timeout: float,
        attempts: int,
        keep: float,
        at_once: int = 1,
    ) -> None:
        """`handlers` by kind; `at_once` jobs of each. The others are `apis.jobs` of the gateway."""
        for kind in handlers:
            if kind not in KINDS:
                raise ValueError(f"there is no kind {kind}, only {', '.join(KINDS)}")
        self._desk = desk
        self._queue = queue
        self._handlers = handlers
        self._timeout = timeout
        self._attempts = attempts
        self._keep = keep
        self._at_once = at_once
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Returns when it was stopped and what it had begun is over.

        Cancelled, it gives back what it has: that is delivered again at once.
        """
        async with asyncio.TaskGroup() as group:
            for kind, handler in self._handlers.items():
                for _ in range(self._at_once):
                    group.create_task(self._serve(kind, handler))

    def stop(self) -> None:
        """Take no more."""
        self._stopping.set()

    async def _serve(self, kind: str, handler: Handler) -> None:
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                delivery = await self._next(kind, stopped)
                if delivery is not None:
                    await self._do(delivery, handler)
        finally:
            stopped.cancel()

    async def _next(self, kind: str, stopped: asyncio.Task[bool]) -> Delivery | None:
        taking = asyncio.create_task(self._queue.take(kind, WAIT))
        try:
            await asyncio.wait((taking, stopped), return_when=asyncio.FIRST_COMPLETED)
            return taking.result() if taking.done() else None
        except StoreDown:
            await asyncio.sleep(PAUSE)
            return None
        finally:
            taking.cancel()
            await asyncio.wait((taking,))

    async def _do(self, delivery: Delivery, handler: Handler) -> None:
        """One delivery, to its end or until it is given back."""
        doing = asyncio.create_task(self._done(delivery, handler))
        beating = asyncio.create_task(self._beat(delivery, doing))
        try:
            await asyncio.wait((doing,))
        except asyncio.CancelledError:
            doing.cancel()
            await asyncio.wait((doing,))
            await self._give_back(delivery)
            raise
        finally:
            beating.cancel()
            await asyncio.wait((beating,))
        if not doing.cancelled() and (error := doing.exception()) is not None:
            log.warning("job %s is left to be delivered again: %r", delivery.message.id, error)

    async def _beat(self, delivery: Delivery, doing: asyncio.Task[None]) -> None:
        """Signs of life; ends the work where somebody else has it."""
        while True:
            await asyncio.sleep(self._timeout / 3)
            try:
                if not await delivery.extend():
                    doing.cancel()
                    return
                if self._last(delivery):
                    await self._desk.alive(delivery.message.id, self._fails_at(delivery))
            except StoreDown:
                continue

    async def _done(self, delivery: Delivery, handler: Handler) -> None:
        """Raises StoreDown where the state cannot be told: the job is delivered again then."""
        name = delivery.message.id
        job = await self._surely(
            lambda: self._desk.begin(name, delivery.number, _now(), self._fails_at(delivery))
        )
        if job is not None:
            outcome = await self._outcome(delivery, handler)
            if outcome is None:
                await self._surely(lambda: delivery.again(PAUSE))
                return
            await self._surely(lambda: self._desk.end(name, outcome, _now(), self._keep))
        await self._surely(delivery.done)

    def _last(self, delivery: Delivery) -> bool:
        return delivery.number >= self._attempts

    def _fails_at(self, delivery: Delivery) -> int:
        """Twice the time-out from now: clocks may differ, and the queue may be the first to say."""
        return _now() + round(2000 * self._timeout) if self._last(delivery) else 0

    async def _outcome(self, delivery: Delivery, handler: Handler) -> Outcome | None:
        """What the handler makes of it; None for another try."""
        name = delivery.message.id
        try:
            async with asyncio.timeout(LONGEST):
                result = await handler(task_of(delivery, self._desk))
            encoded = orjson.dumps(dict(result))
        except Failed as failed:
            return Outcome(reason=text_of(str(failed)) or "the worker gave no reason")
        except Exception:
            log.exception("job %s failed, delivery %d", name, delivery.number)
            return Outcome(reason="the worker could not do it") if self._last(delivery) else None
        if len(encoded) > MOST_RESULT:
            return Outcome(reason="the result is too large to be kept")
        return Outcome(result=encoded.decode())

    async def _give_back(self, delivery: Delivery) -> None:
        with suppress(StoreDown):
            if not self._last(delivery):
                await delivery.again(0)
                return
            outcome = Outcome(reason="its worker was stopped")
            await self._desk.end(delivery.message.id, outcome, _now(), self._keep)
            await delivery.done()

    async def _surely(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Try for as long as the job is ours without a sign of life."""
        ends = monotonic() + self._timeout
        while True:
            try:
                return await call()
            except StoreDown:
                if monotonic() > ends:
                    raise
            await asyncio.sleep(PAUSE)


def task_of(delivery: Delivery, desk: Desk) -> Task:
    """What a message says. Raises ValueError, KeyError for none of ours."""
    message = delivery.message
    envelope = orjson.loads(message.data)
    return Task(
        message.id,
        message.kind,
        envelope["payload"]["input"],
        delivery.number,
        envelope["correlation_id"],
        message.headers.get("traceparent", ""),
        desk,
    )


def text_of(text: str) -> str:
    """As it can be kept and shown anywhere: no control characters, and not long."""
    return "".join(one if one.isprintable() else " " for one in text[:MOST_TEXT]).strip()


def _now() -> int:
    return round(time() * 1000)
