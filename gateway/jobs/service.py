"""Jobs taken on, found again and looked after: what the gateway does about them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_hex
from statistics import median
from typing import Any, Final

import orjson

from gateway.errors import NotFound, PayloadTooLarge, StoreDown, ValidationFailed
from gateway.jobs.job import KINDS, MADE, Ended, Job, Jobs, Message, Outcome, Queue, QueueFull

SWEEP: Final = 1.0
"""s between two looks for jobs that are over or lost."""

VERSION: Final = "1.0"
SOURCE: Final = "api-gateway"
NO_SUCH: Final = "there is no job of this id"

log = logging.getLogger("gateway.jobs")


@dataclass(frozen=True, slots=True)
class Times:
    """In s: results are kept, a job waits for a worker; and deliveries of one job."""

    keep: float
    patience: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for. `key` is theirs, to ask twice for the same."""

    kind: str
    input: Mapping[str, Any]
    caller: str
    key: str | None
    correlation_id: str
    traceparent: str
    symbol: str = ""

    @property
    def digest(self) -> str:
        """Equal for equal jobs."""
        what = [self.kind, self.symbol, self.input]
        return sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()


class Service:
    """A gateway's jobs. Raises StoreDown."""

    def __init__(
        self,
        jobs: Jobs,
        queue: Queue,
        times: Times,
        *,
        now: Callable[[], float],
        counted: Callable[[str, str], None],
        took: Callable[[str, float], None],
    ) -> None:
        """`counted` hears kind and result of each, `took` kind and seconds of those done."""
        self.jobs = jobs
        self._queue = queue
        self._times = times
        self._clock = now
        self._counted = counted
        self._took = took
        self._sweeping: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to look after them."""
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))

    def _now(self) -> int:
        return round(self._clock() * 1000)

    # ------------------------------------------------------------------------------- taking on

    async def submit(self, wanted: Wanted) -> Job:
        """The job, queued: the one of before, if its key says so.

        Raises `ValidationFailed` for a key that was another job's, `QueueFull`.
        """
        keep = self._times.keep
        mine = Job(
            token_hex(16),
            wanted.kind,
            wanted.caller,
            self._now(),
            key=None if wanted.key is None else sha256(wanted.key.encode()).hexdigest(),
            digest=wanted.digest,
            symbol=wanted.symbol,
        )
        job = await self.jobs.add(mine, keep)
        if job.digest != mine.digest:
            raise ValidationFailed(
                "this Idempotency-Key was used for another request",
                details=[
                    {
                        "in": "header",
                        "name": "Idempotency-Key",
                        "path": "",
                        "message": "another request had it, with another body",
                    }
                ],
            )
        if job.status == MADE:  # also when the queue was lost the first time
            await self._queue_up(job, wanted)
        self._counted(job.kind, "accepted" if job.id == mine.id else "repeated")
        return job

    async def _queue_up(self, job: Job, wanted: Wanted) -> None:
        try:
            await self._queue.put(message_of(job, wanted))
        except QueueFull:
            self._counted(job.kind, "full")
            wait = b"Retry-After: %d" % await self.estimate(job.kind)
            raise QueueFull(fields=(wait,)) from None
        except ValueError:
            raise PayloadTooLarge("more than the queue can carry") from None
        await self.jobs.queued(job.id, self._times.patience)

    async def estimate(self, kind: str) -> int:
        """s that a job of this kind takes, from when it is taken on: as the last ones did."""
        recent = await self.jobs.recent(kind)
        return max(1, math.ceil(median(recent) / 1000)) if recent else KINDS[kind].seconds

    # --------------------------------------------------------------------------------- telling

    async def find(self, name: str, caller: str, kind: str = "") -> Job:
        """Raises `NotFound` also for what is another's, or another kind's."""
        job = (await self.jobs.find([name])).get(name)
        if job is None or (kind and job.kind != kind) or not job.seen_by(caller):
            raise NotFound(NO_SUCH)
        return job

    # --------------------------------------------------------------------------- looking after

    async def _sweep(self) -> None:
        while True:
            for step in (self.bury, self.give_up, self.count):
                try:
                    await step()
                except StoreDown:
                    continue  # said by the store's watch; it is tried again
                except Exception:
                    log.exception("looking after the jobs failed")
            await asyncio.sleep(SWEEP)

    async def bury(self) -> None:
        """Have those failed that the queue will not give to anybody any more."""
        for lost in await self._queue.lost():
            await self._fail(lost.job)
            await lost.forget()

    async def give_up(self) -> None:
        """Have those failed whose last worker is silent: a queue may wait for one that asks."""
        for name in await self.jobs.overdue(self._now()):
            await self._fail(name)

    async def _fail(self, name: str) -> None:
        times = self._times
        reason = f"lost by its worker, {times.attempts} time{'s' if times.attempts > 1 else ''}"
        await self.jobs.end(name, Outcome(reason=reason), self._now(), times.keep)

    async def count(self) -> None:
        """Tell the metrics of those that are over: one gateway of all does, for each."""
        ended: list[Ended] = await self.jobs.uncounted()
        for one in ended:
            self._counted(one.kind, one.status)
            if one.status == "done":
                self._took(one.kind, one.milliseconds / 1000)


def message_of(job: Job, wanted: Wanted) -> Message:
    """What workers are told."""
    envelope = {
        "message_id": job.id,
        "correlation_id": wanted.correlation_id,
        "timestamp": moment(job.created_at),
        "version": VERSION,
        "source": SOURCE,
        "payload": {
            "job_id": job.id,
            "kind": job.kind,
            "input": {**wanted.input, **({"symbol": job.symbol} if job.symbol else {})},
        },
    }
    headers = {"Correlation-Id": wanted.correlation_id, "traceparent": wanted.traceparent}
    return Message(job.id, job.kind, orjson.dumps(envelope), headers)


def moment(milliseconds: int) -> str:
    """ISO 8601, UTC."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
