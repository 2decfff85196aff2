"""What a job is, how it may change, and where it is kept: Protocols for state and queue.

The state is what clients are told; the queue is what workers are told. A job's state is made
first, then it is queued. Workers end the state first and then acknowledge: what dies in between
is delivered again, and found to be over. Times are unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.errors import GatewayError

MADE, QUEUED, RUNNING = "made", "queued", "running"
DONE, FAILED = "done", "failed"
STATUSES: Final = (MADE, QUEUED, RUNNING, DONE, FAILED)

BEFORE: Final[Mapping[str, tuple[str, ...]]] = {
    QUEUED: (MADE,),
    RUNNING: (MADE, QUEUED, RUNNING),  # a worker may be faster than who queues; again after a loss
    DONE: (MADE, QUEUED, RUNNING),
    FAILED: (MADE, QUEUED, RUNNING),
}
"""From which statuses one is reached. What is over stays so: of two results the first counts."""

OVER: Final = (DONE, FAILED)
ANONYMOUS: Final = "address:"
"""What the caller's name begins with where nobody was asked who they are."""

RECENT: Final = 21
"""Durations that an estimate is made of."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: its subject on the queue, and what a job takes where none is known."""

    name: str
    subject: str
    seconds: int


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("explanation", "job.explain.generate", 10),
        Kind("generate", "job.generate.create", 30),
        Kind("detect_inventory", "job.inventory.detect", 15),
    )
}


@dataclass(frozen=True, slots=True)
class Job:
    """As it is stored. `key` and `digest` are for who asks twice; `symbol` for explanations."""

    id: str
    kind: str
    caller: str
    created_at: int
    key: str | None = None
    digest: str = ""
    symbol: str = ""
    status: str = MADE
    progress: int = 0  # percent
    message: str = ""  # the worker's, to go with the progress
    attempt: int = 0  # deliveries so far
    result: str = ""  # a JSON object
    reason: str = ""  # why it failed
    started_at: int = 0
    finished_at: int = 0

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def shown_status(self) -> str:
        """Whether it is queued yet is our business."""
        return QUEUED if self.status == MADE else self.status

    def seen_by(self, caller: str) -> bool:
        """Its owner sees it; what had no owner, whoever knows its id."""
        return self.caller == caller or self.caller.startswith(ANONYMOUS)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: with a result (a JSON object), or with the reason why there is none."""

    result: str = ""
    reason: str = ""

    @property
    def status(self) -> str:
        return FAILED if self.reason else DONE


@dataclass(frozen=True, slots=True)
class Ended:
    """For the metrics: a job that is over, and what it took from when it was taken on."""

    kind: str
    status: str
    milliseconds: int


class Intake(Protocol):
    """Jobs, for those who take them on and tell of them. Raises StoreDown."""

    async def add(self, job: Job, keep: float) -> Job:
        """Keep it for so many seconds: unless its caller used its key before; then, that one."""

    async def queued(self, name: str, keep: float) -> None:
        """It is on the queue; keep it so long from now."""

    async def find(self, names: Sequence[str]) -> Mapping[str, Job]:
        """Those of them that there are."""

    async def explained(self, symbol: str) -> Job | None:
        """The newest explanation that was finished."""

    async def history(self, caller: str, before: tuple[int, str] | None, limit: int) -> list[Job]:
        """The caller's that are over, newest first, behind that time and id."""


class Desk(Protocol):
    """Jobs, for those who do them. Raises StoreDown."""

    async def begin(self, name: str, attempt: int, now: int, fails_at: int = 0) -> Job | None:
        """A worker has it. None if it is over, or gone: there is nothing to do.

        `fails_at` is for the last attempt: then it has failed, without a sign of life.
        """

    async def alive(self, name: str, fails_at: int) -> None:
        """A sign of life in the last attempt."""

    async def progress(self, name: str, percent: int, message: str) -> bool:
        """Says whether it still matters."""

    async def end(self, name: str, outcome: Outcome, now: int, keep: float) -> bool:
        """It is over, and is kept so many seconds. Says whether it was not before."""


class Tally(Protocol):
    """Jobs, for those who count. Raises StoreDown."""

    async def recent(self, kind: str) -> list[int]:
        """What the last `RECENT` of a kind took, of those that were done and are known."""

    async def overdue(self, now: int) -> list[str]:
        """Some whose last attempt gave no sign of life for too long."""

    async def uncounted(self) -> list[Ended]:
        """Some that are over, each told once to somebody."""


class Jobs(Intake, Desk, Tally, Protocol):
    """Where jobs are kept."""


class QueueFull(GatewayError):
    """As many jobs of a kind wait as may."""

    status, code, blame = 503, "service_unavailable", "client"
    message = "too many jobs wait already"


@dataclass(frozen=True, slots=True)
class Message:
    """A job on its way to a worker. Headers are what it is called by across services."""

    id: str
    kind: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Delivery(Protocol):
    """A message that a worker has, for `timeout` seconds from the last sign of life."""

    message: Message
    number: int  # how often it was delivered, this time included

    async def extend(self) -> bool:
        """A sign of life. False where it is known that somebody else has it by now."""

    async def done(self) -> None:
        """It is not delivered again."""

    async def again(self, delay: float) -> None:
        """It is given to a worker in so many seconds, if it was not given too often."""


class Lost(Protocol):
    """A message that was delivered as often as it may be, and acknowledged by nobody."""

    job: str

    async def forget(self) -> None:
        """Its job has failed by now."""


class Queue(Protocol):
    """Carries jobs to workers: each to one of them, again where that one is lost."""

    async def put(self, message: Message) -> None:
        """Raises StoreDown, QueueFull. What is put twice is there once."""

    async def take(self, kind: str, wait: float) -> Delivery | None:
        """The next one of a kind, if one comes within so many seconds. Raises StoreDown."""

    async def lost(self) -> Sequence[Lost]:
        """Some that nobody will get any more. Raises StoreDown."""


class JobFailed(GatewayError):
    """A job's answer, where there is none: the message is the worker's reason."""

    status, code, blame = 500, "job_failed", "client"  # the worker's log tells of it
    message = "the job failed"
