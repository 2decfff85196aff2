"""What a request says about answering it from a cache (RFC 9111, 5.2.1; RFC 9110, 13 and 14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.caching.directives import LONGEST, delta, directives, fields_of, seconds

HANDED_ON: Final = frozenset((b"if-match", b"if-unmodified-since"))
"""Not for a cache to evaluate (RFC 9111, 4.3.2): the origin's answer is what the client wants."""

TAKEN: Final = frozenset((b"if-none-match", b"if-modified-since", b"if-range", b"range"))
"""Answered from what is stored, so that the whole answer is fetched."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`plain`: nothing at all, as most requests."""

    plain: bool = True
    no_store: bool = False
    no_cache: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    max_stale: int | None = None
    min_fresh: int = 0
    stale_if_error: int | None = None
    authorised: bool = False
    handed_on: bool = False
    none_match: bytes | None = None
    modified_since: bytes | None = None
    range: bytes | None = None
    if_range: bytes | None = None

    def accept(self, age: float, lifetime: float) -> bool:
        """Whether an answer may be given without asking its origin.

        `age` and `lifetime` in seconds.
        """
        if self.no_cache or (self.max_age is not None and age > self.max_age):
            return False
        left = lifetime - age
        if left >= self.min_fresh and left > 0:
            return True
        return self.max_stale is not None and -left <= self.max_stale and not self.min_fresh


PLAIN: Final = Wishes()
KEYED: Final = Wishes(authorised=True)  # by a key, which says nothing of how to answer
OVERRIDES: Final = frozenset(
    (
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-original-url",
        b"x-rewrite-url",
    )
)
"""An origin that heeds one answers another request than the one that is seen here."""

ASKING: Final = HANDED_ON | TAKEN | OVERRIDES | {b"cache-control", b"authorization"}


class Asks(Protocol):
    """A request's head."""

    wishes: object

    @property
    def received(self) -> list[bytes]: ...


def wishes_of(head: Asks) -> Wishes:
    """Read once for all requests of a client that repeats them."""
    wishes = head.wishes
    if not isinstance(wishes, Wishes):
        wishes = head.wishes = read(head.received)
    return wishes


def read(lines: Sequence[bytes]) -> Wishes:
    """The wishes in a request's header lines."""
    fields = fields_of(lines)
    names = {name.replace(b"_", b"-") for name in fields}  # some origins do not tell them apart
    if ASKING.isdisjoint(names):
        return KEYED if b"x-api-key" in names else PLAIN
    found = directives(fields.get(b"cache-control", ()))

    def first(name: bytes) -> bytes | None:
        values = fields.get(name)
        return b", ".join(values) if values else None

    max_stale = None
    if b"max-stale" in found:
        value = found[b"max-stale"]
        max_stale = LONGEST if value is None else delta(value)  # alone it means any age
    return Wishes(
        plain=False,
        no_store=b"no-store" in found or not OVERRIDES.isdisjoint(names),
        no_cache=b"no-cache" in found,
        only_if_cached=b"only-if-cached" in found,
        max_age=seconds(found, b"max-age"),
        max_stale=max_stale,
        min_fresh=seconds(found, b"min-fresh") or 0,
        stale_if_error=seconds(found, b"stale-if-error"),
        authorised=not names.isdisjoint((b"authorization", b"x-api-key")),
        handed_on=not HANDED_ON.isdisjoint(fields),
        none_match=first(b"if-none-match"),
        modified_since=first(b"if-modified-since"),
        range=first(b"range"),
        if_range=first(b"if-range"),
    )
