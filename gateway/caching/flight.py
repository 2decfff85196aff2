"""One request upstream, for all who want its answer now (RFC 9111, 4: collapsed forwarding).

A flight makes the request by itself (`errand`). Whoever asked is a receiver, and so is each who
asks for the same while it is under way. When the answer's head is there it is decided who gets it:
an answer that may be shared goes to all, piece by piece as it comes, and is kept when it is whole;
any other goes to who asked first, and the rest ask for themselves. A receiver that leaves is taken
off the list; when none is left the request is given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Final, Protocol

from gateway.caching import conditional, freshening, renewal
from gateway.caching import status as cache_status
from gateway.caching.directives import Fields, fields_of
from gateway.caching.epochs import Stamp
from gateway.caching.errand import errand
from gateway.caching.freshness import Terms, terms
from gateway.caching.receiver import Receiver
from gateway.caching.serving import serve
from gateway.caching.stored import Stored
from gateway.caching.targeted import OURS
from gateway.caching.vary import selecting, sent_up, varies
from gateway.caching.wishes import TAKEN, Wishes, wishes_of
from gateway.errors import GatewayError
from gateway.exchange import NOTHING, Answer, Endpoint, Exchange, Head, Piece
from gateway.http1.fields import UNTIL_CLOSE, without

WORTH_READING: Final = 65536
"""Bytes of an answer that nobody wants, read for the sake of its connection."""

NOT_ON: Final = frozenset((OURS,))


class Keeper(Protocol):
    """Whose flight it is: the cache of a route."""

    endpoint: Endpoint
    ttl: float
    cookies: bool
    most: int  # bytes of a body that is kept
    disconnected: float  # s of staleness that are better than no answer

    def keep(self, flight: Flight, stored: Stored, names: tuple[bytes, ...]) -> None:
        """Put the answer away."""

    def landed(self, flight: Flight) -> None:
        """Nobody can join it from here on."""

    def forget(self, key: bytes) -> None:
        """What is stored under this key is not what its origin has."""

    def alone(self, exchange: Exchange, wishes: Wishes, key: bytes) -> None:
        """The flight's answer is not for this one: have it ask for itself."""

    def unshared(self, name: bytes) -> None:
        """Answers to flights of this name are not for sharing: nobody should wait for one."""

    def count(self, result: str) -> None: ...


class Flight:
    """The outlet of an errand."""

    __slots__ = (
        "_answer", "_asked_at", "_blocked", "_errand", "_fields", "_keeper", "_kept", "_names",
        "_over", "_receivers", "_size", "_terms", "_whole",
        "asker", "key", "name", "reason", "stamp", "stored",
    )  # fmt: skip

    def __init__(
        self,
        keeper: Keeper,
        key: bytes,
        name: bytes,
        asker: Exchange,
        stamp: Stamp,
        *,
        stored: Stored | None = None,
        reason: bytes = b"uri-miss",
        whole: bool = True,
    ) -> None:
        """`key` is the target's, `name` the flight's: the key, or a variant's of it.

        `stored` is to be revalidated. `whole`: ask for all of the answer, whatever is wanted;
        else as the client did.
        """
        self._keeper = keeper
        self.key = key
        self.name = name
        self.asker = asker
        self.stamp = stamp
        self.stored = stored
        self.reason = reason
        self._whole = whole
        self._receivers: list[Receiver] = []
        self._blocked = self._over = False
        self._answer: Answer | None = None
        self._fields: Fields = {}
        self._terms: Terms | None = None
        self._names: tuple[bytes, ...] = ()
        self._kept: list[Piece] | None = None
        self._size = 0
        self._asked_at = time()
        upward: tuple[bytes, ...] = ()
        if stored is not None and whole:
            upward = conditional.asking(stored.etag, stored.last_modified)
        self._errand = errand(asker, self, TAKEN if whole else NOTHING, upward)

    @property
    def open(self) -> bool:
        """Whether one more can have the answer."""
        return not self._over and (self._answer is None or self._kept is not None)

    def start(self) -> None:
        try:
            self._keeper.endpoint.handle(self._errand)
        except GatewayError as error:
            self.fail(error)

    def board(self, exchange: Exchange, wishes: Wishes) -> None:
        """Give this one the answer, too."""
        if self._answer is not None and not self._is_for(exchange):
            self._keeper.alone(exchange, wishes, self.key)
            return
        receiver = Receiver(self, exchange, wishes)
        self._receivers.append(receiver)
        exchange.client.sink = receiver
        if self._answer is not None:
            self._hand_out(receiver, self._answer)
            if receiver in self._receivers:
                receiver.outlet.write(list(self._kept or ()))
                receiver.outlet.flush()

    # --------------------------------------------------------------------- the upstream's part

    def begin(self, head: Head) -> None:
        assert isinstance(head, Answer)  # an exchange with an outlet gets no other
        self._inform()
        self._tell_log()
        self._fields = fields_of(head.lines)
        if self.stored is not None and self._settled(head, self.stored):
            return
        self._answer = head
        names = varies(self._fields)
        self._terms = self._judge(head)
        if self._terms is None or names is None:
            self._reserve(head)
            return
        self._names = names
        self._kept = []
        for receiver in list(self._receivers):
            if self._is_for(receiver.exchange):
                self._hand_out(receiver, head)
            else:
                self._receivers.remove(receiver)
                self._send_off(receiver)

    def _is_for(self, exchange: Exchange) -> bool:
        """Whether Vary gives this one the same answer as who asked first."""
        names, asker = self._names, self.asker
        return not names or selecting(names, sent_up(exchange)) == selecting(names, sent_up(asker))

    def _judge(self, head: Answer) -> Terms | None:
        """On what terms the answer may be kept, if at all."""
        keeper, asker = self._keeper, self.asker
        if asker.head.method != b"GET":
            return None
        if head.length > keeper.most or head.length == UNTIL_CLOSE:
            return None  # the end of a connection does not tell a whole body (RFC 9112, 8)
        return terms(
            head.status,
            self._fields,
            authorised=asker.principal is not None or wishes_of(asker.head).authorised,
            ttl=keeper.ttl,
            asked_at=self._asked_at,
            now=time(),
            cookies=keeper.cookies,
        )

    def _reserve(self, head: Answer) -> None:
        """The answer is for who asked first."""
        self._keeper.landed(self)
        self._terms = None
        if self._whole and head.status < 500 and self.asker.head.method == b"GET":
            self._keeper.unshared(self.name)
        others = self._others()
        for receiver in list(self._receivers):
            self._hand_out(receiver, head)
        for receiver in others:
            self._send_off(receiver)
        if not self._receivers:
            self._give_up()
        self._look_for_full()

    def _others(self) -> list[Receiver]:
        """Those who did not ask first, off the list: who did may have left before them."""
        asker, all_of_them = self.asker, self._receivers
        self._receivers = [each for each in all_of_them if each.exchange is asker]
        return [each for each in all_of_them if each.exchange is not asker]

    def _send_off(self, receiver: Receiver) -> None:
        receiver.exchange.client.sink = None
        self._keeper.alone(receiver.exchange, receiver.wishes, self.key)

    def _settled(self, head: Answer, stored: Stored) -> bool:
        """Whether the stored answer is the answer, after all that its origin says of it."""
        keeper = self._keeper
        if self.asker.head.method == b"HEAD":
            if head.status == 200 and renewal.differs(stored, self._fields):
                keeper.forget(self.key)
            return False
        if head.status == 304:
            if not freshening.confirms(self._fields, stored.etag):
                self._start_over()
                return True
            others: list[Receiver] = []
            if not keeper.cookies:
                head, cookies = renewal.parted(head)
                self.asker.lines = (*self.asker.lines, *cookies)
            again, found = renewal.renewed(stored, head, ttl=keeper.ttl, asked_at=self._asked_at)
            names = varies(fields_of(again.lines))
            if found is None or names is None:
                keeper.forget(self.key)
                others = self._others()
            else:
                keeper.keep(self, again, names)
            self._serve_all(again, "revalidated", 304)
            for receiver in others:
                self._send_off(receiver)
            return True
        failed = head.status in renewal.FAILURES
        if failed and renewal.may_stand_in(stored, wishes_of(self.asker.head), time(), None):
            self._serve_all(stored, "stale", head.status)
            if not 0 <= head.length <= WORTH_READING:
                self._give_up()
            return True
        return False

    def write(self, pieces: list[Piece]) -> None:
        if self._over:
            return
        if self._kept is not None:
            self._kept += pieces
            self._size += sum(map(len, pieces))
            if self._size > self._keeper.most:
                self._kept = None
                self._keeper.landed(self)
                self._look_for_full()
        for receiver in self._receivers:
            receiver.outlet.write(pieces)

    def flush(self) -> None:
        self._inform()
        if self._answer is not None and not self._over:
            for receiver in self._receivers:
                receiver.outlet.flush()

    def _inform(self) -> None:
        """Pass on interim answers to who asked: whose the final one is, is not known yet."""
        told = self._errand.client.out
        for receiver in self._receivers if told else ():
            if receiver.exchange is self.asker and receiver.exchange.head.minor:
                receiver.exchange.client.out += told
                receiver.exchange.client.flush()
        told.clear()

    def end(self, trailers: Sequence[bytes] = ()) -> None:
        if self._over:
            return
        self._finish()
        if self._kept is not None and self._answer is not None and self._terms is not None:
            body = b"".join(self._kept)
            stored = renewal.put_away(self._answer, body, self._terms)
            self._keeper.keep(self, stored, self._names)
        for receiver in self._receivers:
            receiver.outlet.end(trailers)

    def fail(self, error: GatewayError) -> None:
        if self._over:
            return
        self._tell_log()
        if self._answer is None and self.stored is not None:
            lost, wishes = self._keeper.disconnected, wishes_of(self.asker.head)
            if renewal.may_stand_in(self.stored, wishes, time(), lost):
                self._serve_all(self.stored, "stale", error.status)
                return
        self._finish()
        line = cache_status.forwarded(self.reason, error.status)
        for receiver in self._receivers:
            if self._answer is None:
                self._keeper.count("miss")
                receiver.exchange.lines = (*receiver.exchange.lines, line)
            receiver.outlet.fail(error)

    def _finish(self) -> None:
        self._over = True
        self._keeper.landed(self)

    def _serve_all(self, stored: Stored, result: str, status: int) -> None:
        """Answer all with what is stored; what else comes is for nobody."""
        self._finish()
        receivers, self._receivers = self._receivers, []
        self._names = varies(fields_of(stored.lines)) or ()
        line = cache_status.forwarded(self.reason, status)
        for receiver in receivers:
            exchange = receiver.exchange
            if not self._is_for(exchange):
                self._send_off(receiver)
                continue
            exchange.client.sink = None
            exchange.lines = (*exchange.lines, line)
            self._keeper.count(result)
            serve(exchange, stored, receiver.wishes, time())

    def _start_over(self) -> None:
        """The 304 was about another answer than ours: all ask for the whole."""
        self._finish()
        self._keeper.forget(self.key)
        receivers, self._receivers = self._receivers, []
        for receiver in receivers:
            self._send_off(receiver)

    def _tell_log(self) -> None:
        for receiver in self._receivers:
            receiver.exchange.target_fields = self._errand.target_fields
            receiver.exchange.sent_path = self._errand.sent_path

    # -------------------------------------------------------------------- the receivers' part

    def _hand_out(self, receiver: Receiver, head: Answer) -> None:
        """The answer's head as this one should have it."""
        exchange, fields = receiver.exchange, self._fields
        collapsed = exchange is not self.asker
        line = cache_status.forwarded(
            self.reason, head.status, stored=self._kept is not None, collapsed=collapsed
        )
        self._keeper.count("collapsed" if collapsed else "miss")
        lines = [*(without(head.lines, NOT_ON) if OURS in fields else head.lines), line]
        etag, changed = (fields.get(name, [None])[0] for name in (b"etag", b"last-modified"))
        if (
            head.status == 200
            and self._whole
            and conditional.unchanged(receiver.wishes, etag, changed, time())
        ):
            self._receivers.remove(receiver)
            exchange.client.sink = None
            receiver.outlet.begin(Answer(304, conditional.without_body_fields(lines)))
            receiver.outlet.end()
            return
        receiver.outlet.begin(Answer(head.status, lines, head.length, head.trailer, head.first))

    def left(self, receiver: Receiver) -> None:
        """This one does not wait any longer."""
        if receiver not in self._receivers:
            return
        self._receivers.remove(receiver)
        if self._receivers or self._over:
            self.unblocked()
            return
        self._give_up()

    def _give_up(self) -> None:
        """Nobody wants what else comes."""
        self._finish()
        sink = self._errand.client.sink
        if sink is not None:
            sink.abandoned()

    @property
    def _any_full(self) -> bool:
        return any(receiver.exchange.client.full for receiver in self._receivers)

    def _look_for_full(self) -> None:
        if self._any_full:
            self.blocked()

    def blocked(self) -> None:
        """A receiver takes no more: the source waits, unless all is kept anyway."""
        sink = self._errand.client.sink
        if self._kept is None and self._answer is not None and sink is not None:
            self._blocked = True
            sink.blocked()

    def unblocked(self) -> None:
        sink = self._errand.client.sink
        if self._blocked and not self._any_full and sink is not None:
            self._blocked = False
            sink.unblocked()
