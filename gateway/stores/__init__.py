"""What the gateway's state is kept in: Protocols in the words of those who use them.

Each has an embedded adapter and one that speaks to a server; each client library lives in one
module. Whatever becomes of a server, an adapter raises nothing but `gateway.errors.StoreDown`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Protocol
from uuid import UUID

from gateway.units import Rate


class Decision(NamedTuple):
    """What a limiter says. Counts are of requests, times are whole seconds, rounded up.

    A tuple: one is made for each request, and a frozen dataclass takes three times as long.
    """

    allowed: bool
    limit: int  # as many at once after a quiet time; what `remaining` counts against
    remaining: int
    reset: int  # until `remaining` is `limit` again
    retry_after: int  # until this would have been allowed; 0 if it was


class Watch(Protocol):
    """Hears how a store's server is doing: of each call to it, either or."""

    def worked(self) -> None: ...

    def failed(self, error: BaseException) -> None: ...


class Unwatched:
    """Nobody listens."""

    def worked(self) -> None:
        """Nothing."""

    def failed(self, error: BaseException) -> None:
        """Nothing."""


class Limiter(Protocol):
    """Counts by key."""

    def take(
        self, key: bytes, rate: Rate, cost: int = 1
    ) -> Decision | Coroutine[Any, Any, Decision]:
        """Take `cost` (1 to the rate's burst) of what `rate` allows this key; all or nothing.

        A decision where that needs no I/O, else a coroutine. 0 takes nothing and tells how things
        are. The key says what is counted, for whom and at what rate: another rate is another key.
        """


class Shelf(Protocol):
    """Keeps answers for the cache, as bytes; what is full forgets the oldest.

    A coroutine where a server has to be asked: it raises StoreDown when that is lost.
    """

    @property
    def waits(self) -> bool:
        """Whether `get` gives a coroutine at present."""

    def get(self, key: bytes) -> bytes | Coroutine[Any, Any, bytes | None] | None: ...

    def put(
        self, key: bytes, data: bytes, seconds: float, stamp: int
    ) -> Coroutine[Any, Any, None] | None:
        """Keep it for so long at most, unless the key was voided since its `stamp` was taken."""

    def drop(self, key: bytes) -> Coroutine[Any, Any, None] | None:
        """Forget it."""

    async def purge(self, wanted: Callable[[bytes], bool]) -> set[bytes]:
        """Forget every key that is wanted, and name them."""


Value = str | int | float | bytes | Decimal | date | UUID | Sequence[Any] | None
"""A parameter. SQLite takes only the simple ones: texts, numbers that are no Decimal, bytes."""

Rule = Literal["unique", "foreign", "null", "check", "value", "absent"]


class Violated(Exception):
    """A table's own rules refuse a statement; its text is the database's, for the log only.

    Rules: a row that has to be the only one, or that others need or that needs others; a column
    that has to be filled; a condition; a value that the column cannot hold; a table or a column
    that is not there (any more). `constraint`, `column` and `table` are the database's names,
    empty where it does not tell.
    """

    def __init__(
        self, text: str, rule: Rule, *, constraint: str = "", column: str = "", table: str = ""
    ) -> None:
        super().__init__(text)
        self.rule = rule
        self.constraint = constraint
        self.column = column
        self.table = table


class Database(Protocol):
    """SQL, with parameters `$1`, `$2` in both dialects. Raises only `StoreDown` and `Violated`."""

    name: str

    async def fetch(self, sql: str, *values: Value) -> list[Mapping[str, Any]]: ...

    async def execute(self, sql: str, *values: Value) -> int:
        """How many rows were touched."""

    def transaction(self) -> AbstractAsyncContextManager[Database]:
        """All of what is done through it, or nothing."""

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        """Take those steps once, whoever asks; remembered in gateway_migrations."""

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


class Hearer(Protocol):
    """Who is told of a subject's events. Called on the loop; an event's place is epoch and number.

    Between two calls of `begin` numbers rise. An epoch is 1 to 32 letters and digits.
    """

    def begin(self, epoch: str, floor: int) -> None:
        """Events are numbered in this epoch from here on.

        Those up to `floor` cannot be had (any more): a gap, for who had not heard them.
        """

    def event(self, number: int, data: bytes) -> None:
        """One event; numbers rise, with gaps where other subjects share the numbering."""


class Bus(Protocol):
    """Carries events to all who listen, in one order. Delivers at most once."""

    name: str

    async def publish(self, subject: str, data: bytes) -> None:
        """Tell everyone who listens. Raises StoreDown; ValueError for more than it can carry."""

    async def listen(self, subject: str, hearer: Hearer, recent: int) -> None:
        """From now on tell `hearer` of the subject's events; once for a subject.

        First of up to `recent` old ones, where the bus keeps any. Returns once it listens or,
        where its server is lost, at once: it goes on trying by itself.
        """

    async def close(self) -> None: ...
