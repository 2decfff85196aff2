"""Hands each event of the bus to those who subscribed to its symbol.

The theory. Subscribers are found by symbol, without a walk over all connections. An update is
encoded once; handing it on is a rate check and a `write` of bytes that all share. To many it goes
in slices, between which the loop serves requests: one of `SLICE` takes a third of a millisecond.
Updates go out one after the other, each to all of its subscribers as they were when its turn
came, so none overtakes another. Into the history an update goes at that moment, too: who
subscribes then finds it there and is not handed it a second time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from heapq import nlargest
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol

from gateway.deadline import Deadline
from gateway.errors import GatewayError, RateLimited
from gateway.exchange import Exchange
from gateway.limits import network_of
from gateway.realtime import wire
from gateway.realtime.history import History
from gateway.realtime.rounds import Rounds
from gateway.realtime.subscriber import TEN_A_SECOND, Pace, Subscriber
from gateway.realtime.wire import EVERYTHING, BadEvent, Offset, Update
from gateway.units import Rate

SLICE: Final = 32  # subscribers that are served before the loop goes round
PENDING: Final = 2000  # events that wait for their turn, of 64 KiB at most
REMIND_AFTER: Final = 0.05  # seconds; how much later than its time an update may be
SHOWN: Final = 100  # symbols in the status
TOLD_EVERY: Final = 10.0  # seconds between two lines about events that are none


AT_EASE: Final = Pace()


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take. Times in seconds, sizes in bytes; a count of 0 is no limit."""

    connections: int = 20000
    connections_per_address: int = 0
    connections_per_key: int = 0
    max_message: int = 65536
    max_symbols: int = 100
    wildcard: bool = False
    ping_interval: float = 30
    idle_timeout: float = 300
    message_rate: Rate = TEN_A_SECOND
    deflate: bool = False
    history: int = 10000
    pace: Pace = AT_EASE


class Gap(NamedTuple):
    """From here on events are numbered in `epoch`, and those up to `floor` cannot be had."""

    epoch: str
    floor: int


class Meters(Protocol):
    """Where the hub counts."""

    connections: Any
    sent: Any
    received: Any
    dropped: Any
    subscriptions: Any
    queued: Any

    def event(self, result: str) -> None: ...


class Log(Protocol):
    def info(self, event: str, /, **fields: object) -> None: ...

    def warning(self, event: str, /, **fields: object) -> None: ...


class Member(Subscriber):
    """A subscriber that is connected."""

    __slots__ = ("exchange",)

    exchange: Exchange

    def ping(self) -> None:
        """See whether the client is still there, once every interval."""
        raise NotImplementedError

    def idle(self) -> None:
        """It has had no subscription and said nothing for too long."""

    def dismiss(self) -> None:
        """It would not be let in any more."""
        raise NotImplementedError

    def overdue(self) -> None:
        """It was told to close, and has not."""

    def leave(self) -> None:
        """The gateway will not go on with it."""
        raise NotImplementedError


class Hub:
    """One worker's. It hears the bus (`begin`, `event`) and knows who is there."""

    CLOSE_WAIT: Final = 1.0  # seconds for a client to answer our Close

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, meters: Meters, log: Log
    ) -> None:
        self.loop = loop
        self.limits = limits
        self._away = False
        self.meters = meters
        self.log = log
        self.queued = 0
        self.sent = 0  # since the last `refresh`
        self.members: set[Member] = set()
        self.pings: Deadline[Member] = Deadline(loop, limits.ping_interval, lambda m: m.ping())
        self.idles: Deadline[Member] = Deadline(loop, limits.idle_timeout, lambda m: m.idle())
        self.closing: Deadline[Member] = Deadline(loop, self.CLOSE_WAIT, lambda m: m.overdue())
        self._late: Deadline[Subscriber] = Deadline(loop, REMIND_AFTER, lambda s: s.release())
        self._rounds = Rounds(loop)
        self._history = History(limits.history)
        self._of: dict[str, dict[Member, None]] = {}
        self._counts: dict[bytes, int] = {}
        self._epoch = ""
        self._pending: deque[Update | Gap] = deque()
        self._hearers: list[Member] = []  # of the update whose turn it is
        self._served = 0
        self._current: Update | Gap | None = None
        self._left: set[Member] = set()  # of the hearers, since its turn began
        self._running = False
        self._overrun = 0
        self._told_overrun = -TOLD_EVERY
        self._bad: dict[str, int] = {}
        self._told_bad = -TOLD_EVERY

    def obey(self, limits: Limits) -> None:
        """Have these limits hold for whoever comes from now on."""
        pinged = bool(self.limits.ping_interval)
        self.limits = limits
        self._away = False
        self.pings.seconds = limits.ping_interval
        self.idles.seconds = limits.idle_timeout
        if not pinged:
            for member in self.members:
                self.pings.start(member)

    # ------------------------------------------------------------------------- who is there

    def admit(self, exchange: Exchange) -> None:
        """Whether there is room for one more. Raises the error that says no."""
        limits = self.limits
        if self._away or (limits.connections and len(self.members) >= limits.connections):
            raise Full
        if self._over(b"ip " + network_of(exchange.client_ip), limits.connections_per_address):
            raise RateLimited("too many live connections from this address")
        principal = exchange.principal
        if principal is not None and self._over(principal.counted, limits.connections_per_key):
            raise RateLimited("too many live connections with these credentials")

    def _over(self, who: bytes, most: int) -> bool:
        return bool(most) and self._counts.get(who, 0) >= most

    def enter(self, member: Member) -> None:
        self.members.add(member)
        for who in self._counted(member):
            self._counts[who] = self._counts.get(who, 0) + 1
        self.meters.connections.inc()
        self.pings.start(member)
        self._rounds.start(member)

    def leave(self, member: Member) -> None:
        """Forget it, and all that it had; once is enough, twice does no harm."""
        if member not in self.members:
            return
        self.members.discard(member)
        for who in self._counted(member):
            self._counts[who] -= 1
            if not self._counts[who]:
                del self._counts[who]
        self.unsubscribe(member, list(member.symbols))
        member.forget()
        self.meters.connections.dec()
        for deadline in (self.pings, self.idles, self._late):
            deadline.stop(member)
        self._rounds.stop(member)

    @staticmethod
    def _counted(member: Member) -> list[bytes]:
        exchange = member.exchange
        who = [b"ip " + network_of(exchange.client_ip)]
        return who if exchange.principal is None else [*who, exchange.principal.counted]

    # -------------------------------------------------------------------------- who hears what

    def subscribe(self, member: Member, symbols: tuple[str, ...]) -> list[str]:
        """Those that are new to it."""
        new = [symbol for symbol in symbols if symbol not in member.symbols]
        for symbol in new:
            self._of.setdefault(symbol, {})[member] = None
        member.symbols.update(new)
        self.meters.subscriptions.inc(len(new))
        return new

    def unsubscribe(self, member: Member, symbols: list[str] | tuple[str, ...]) -> None:
        for symbol in symbols:
            if symbol in member.symbols:
                member.symbols.discard(symbol)
                self.meters.subscriptions.dec()
                hearers = self._of[symbol]
                del hearers[member]
                if not hearers:
                    del self._of[symbol]
        current = self._current
        if isinstance(current, Update) and not member.symbols & {current.symbol, EVERYTHING}:
            self._left.add(member)

    def recover(self, member: Member, symbols: list[str], since: Offset) -> None:
        """Send what it missed of those symbols, or tell it that this cannot be had."""
        missed = self._history.since(since, symbols)
        if missed is not None and member.conflate:
            # What it saw last says nothing of other symbols: the newest of each is not too much.
            missed = self._history.newest(symbols)
        if missed is None or not member.replay(missed, self.limits.history):
            member.tell("refetch", symbols=symbols)

    # ---------------------------------------------------------------------------- from the bus

    def begin(self, epoch: str, floor: int) -> None:
        """The bus numbers anew, or there is a gap: what was missed there cannot be had."""
        first, self._epoch = not self._epoch, epoch
        if first:
            self._history.begin(epoch, floor)
        else:
            self._put(Gap(epoch, floor))

    def event(self, number: int, data: bytes) -> None:
        try:
            symbol, fields = wire.read_event(data)
            update = Update(symbol, fields, Offset(self._epoch, number))
        except BadEvent as error:
            self._count_bad(error.kind)
            return
        self.meters.event("accepted")
        self._put(update)

    def _put(self, item: Update | Gap) -> None:
        """In line. Where the line is too long, its oldest go to the history only."""
        self._pending.append(item)
        if len(self._pending) > PENDING:
            oldest = self._pending.popleft()
            if isinstance(oldest, Update):
                self._history.add(oldest)
            else:
                self._history.begin(oldest.epoch, oldest.floor)
            self._overrun += 1
            self.meters.event("overrun")
        if not self._running:
            self._running = True
            self._fan_out()

    def _count_bad(self, kind: str) -> None:
        self.meters.event(kind)
        self._bad[kind] = self._bad.get(kind, 0) + 1
        self._tell_bad()

    def _tell_bad(self) -> None:
        now = self.loop.time()
        if self._bad and now - self._told_bad >= TOLD_EVERY:
            self._told_bad = now
            self.log.warning("bad_events", **self._bad)
            self._bad = {}

    def _fan_out(self) -> None:
        """Serve a slice; what is left comes when the loop has gone round."""
        left = SLICE
        now = monotonic()
        while left > 0:
            if self._current is None and not self._take_next():
                self._running = False
                return
            item, at = self._current, self._served
            part = self._hearers[at : at + left]
            left -= len(part) or 1
            self._served = at + len(part)
            if self._left:
                part = [hearer for hearer in part if hearer not in self._left]
            if isinstance(item, Update):
                self.sent += len(part)
                for hearer in part:
                    try:
                        hearer.offer(item, now)
                    except Exception as error:  # noqa: BLE001 - the others are to hear it
                        self._failed(hearer, error)
            else:
                for hearer in part:
                    if hearer.symbols:
                        hearer.supersede()
                        hearer.tell("refetch", symbols=sorted(hearer.symbols))
            if self._served >= len(self._hearers):
                self._current = None
                self._hearers = []  # else they would be kept here when they have gone
                self._left.clear()
        self.loop.call_soon(self._fan_out)

    def _take_next(self) -> bool:
        """Whose turn it is, and who hears it."""
        now = self.loop.time()
        # Where the line does not get empty, those who wait are told all the same.
        if self._overrun and (not self._pending or now - self._told_overrun >= TOLD_EVERY):
            self._told_overrun = now
            self.log.warning("events_dropped", count=self._overrun)
            self._overrun = 0
            self._current = Gap(*self._history.last)
        elif self._pending:
            self._current = self._pending.popleft()
        else:
            return False
        self._hearers = self._begin(self._current)
        self._served = 0
        return True

    def _failed(self, member: Member, error: Exception) -> None:
        """One could not be served: that is its end, and nobody else's."""
        self.loop.call_exception_handler(
            {"message": "an update could not be handed on", "exception": error}
        )
        member.exchange.client.cut()

    def _begin(self, item: Update | Gap) -> list[Member]:
        """Who hears it, at the moment when it goes into the history."""
        if isinstance(item, Gap):
            if tuple(item) != tuple(self._history.last):
                self._history.begin(*item)
            return [member for member in self.members if member.symbols]
        self._history.add(item)
        hearers = self._of.get(item.symbol, {})
        everything = self._of.get(EVERYTHING)
        return list({**hearers, **everything} if everything else hearers)

    # ------------------------------------------------------------------------- a keeper's calls

    def remind(self, subscriber: Subscriber) -> None:
        self._late.start(subscriber)

    def dropped(self, updates: int) -> None:
        self.meters.dropped.inc(updates)

    # --------------------------------------------------------------------------- for operators

    def status(self) -> dict[str, Any]:
        """This worker's, as the status page shows it."""
        by_size = nlargest(SHOWN, self._of.items(), key=lambda item: len(item[1]))
        return {
            "connections": len(self.members),
            "subscriptions": sum(len(m) for m in self._of.values()),
            "symbols": {symbol: len(members) for symbol, members in by_size},
            "queued": self.queued,
            "pending": len(self._pending),
            "offset": str(self._history.last),
        }

    def refresh(self) -> None:
        """Write down what is too frequent to be counted, or told, as it happens."""
        self._tell_bad()
        self.meters.queued.set(self.queued)
        sent, self.sent = self.sent, 0
        self.meters.sent.inc(sent)

    def going_away(self) -> None:
        """Nobody is served from here on, until `obey`: tell all who are there."""
        self._away = True
        for member in list(self.members):
            member.leave()

    def cancel(self) -> None:
        for deadline in (self.pings, self.idles, self.closing, self._late):
            deadline.cancel()
        self._rounds.cancel()


class Full(GatewayError):
    """No room for another live connection in this worker."""

    status, code = 503, "service_unavailable"
    message = "there is no room for another live connection"
