"""Who listens to a bus whose server may be lost, and one stretch of listening."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from time import monotonic
from typing import Final

from gateway.stores import Hearer

ORIGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
HEARTBEAT: Final = 1.0  # s of a consumer's silence after which it gives a sign
SILENCE: Final = 3.5 * HEARTBEAT
UNUSED: Final = 10.0  # s after which the server forgets a consumer that nobody hears


class Session:
    """While it is heard what a listener wants to hear: from one subscription's begin to its end."""

    __slots__ = ("delivered", "heard_at", "over", "scope")

    def __init__(self) -> None:
        self.scope = asyncio.timeout(None)
        self.over = False
        self.delivered = 0  # the consumer's own count
        self.heard_at = monotonic()

    def end(self) -> None:
        """Whatever it waits for, by a TimeoutError."""
        if not self.over:
            self.over = True
            self.scope.reschedule(0)


class Listener:
    """One hearer: what it was told last."""

    __slots__ = ("created", "epoch", "hearer", "last", "recent", "session", "subject", "tried")

    def __init__(self, subject: str, hearer: Hearer, recent: int) -> None:
        self.subject = subject
        self.hearer = hearer
        self.recent = recent
        self.epoch = ""
        self.created = ""  # when its stream was
        self.last = 0
        self.session: Session | None = None
        self.tried = asyncio.Event()  # it listens and has heard what is old, or could not

    def begin(self, epoch: str, floor: int) -> None:
        self.epoch = epoch
        self.last = floor
        self.hearer.begin(epoch, floor)

    def event(self, number: int, data: bytes) -> None:
        self.last = number
        self.hearer.event(number, data)

    def settle(self, created: datetime, first: int, last: int) -> None:
        """Where to begin in a stream that has these numbers; the hearer is told what is new."""
        made = f"{(created - ORIGIN) // timedelta(microseconds=1):x}"
        gone = max(first - 1, 0)
        if made != self.created or last < self.last:
            # The same stream, put back with fewer events: its numbers will mean something else.
            again = token_hex(4) if made == self.created else ""
            self.created = made
            self.begin(made + again, max(gone, last - self.recent))
        elif gone > self.last:
            self.begin(self.epoch, gone)


def counts(reply: str) -> tuple[int, int, int]:
    """Of an event: its number in the stream, in the consumer, and how many more there are.

    Servers write `$JS.ACK.stream.consumer.times.number.count.time.left`, or with two tokens more
    before the stream (NATS ADR-15).
    """
    tokens = reply.split(".")
    at = 5 if len(tokens) == 9 else 7
    return int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 3])
