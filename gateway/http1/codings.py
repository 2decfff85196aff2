"""Which content coding a client would have (RFC 9110, 12.5.3): `Accept-Encoding`, read once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.http1.fields import TOKEN

IDENTITY: Final = b"identity"
ALIASES: Final = {b"x-gzip": b"gzip"}  # RFC 9110, 8.4.1.3
# A weight has three digits behind its point at most (RFC 9110, 12.4.2).
MEMBER: Final = re.compile(
    rb"(" + TOKEN + rb"++)[\t ]*(?:;[\t ]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """`coding` is None for no coding; `demanded` says that the client refuses none at all."""

    coding: bytes | None = None
    demanded: bool = False


AS_IT_IS: Final = Choice()


def choose(value: bytes, offered: Sequence[bytes]) -> Choice:
    """The best of what is offered, in order of our preference, by a field's value.

    What is not named and not covered by `*` is not wanted, but for no coding at all, which is
    wanted until it is refused. Members that are malformed count as not there.
    """
    weights = weights_of(value)
    others = weights.get(b"*", 0)
    best, coding = 0, None
    for each in offered:
        weight = weights.get(each, others)
        if weight > best:
            best, coding = weight, each
    plain = weights.get(IDENTITY)
    if plain is not None and plain > best:
        return AS_IT_IS
    refused = plain == 0 or (plain is None and weights.get(b"*") == 0)
    return Choice(coding, refused and coding is not None)


def weights_of(value: bytes) -> dict[bytes, int]:
    """Each coding's weight in thousandths; the first counts of those named twice."""
    weights: dict[bytes, int] = {}
    for part in value.lower().split(b","):
        match = MEMBER.fullmatch(part.strip(b" \t"))
        if match is None:
            continue
        name, weight = match.groups()
        weights.setdefault(ALIASES.get(name, name), 1000 if weight is None else thousandths(weight))
    return weights


def thousandths(weight: bytes) -> int:
    """`0.5` as 500."""
    whole, _, fraction = weight.partition(b".")
    return int(whole + (fraction + b"000")[:3])


class Choices(dict[bytes, Choice]):
    """What each value met comes to. Bounded, for values are the clients' to choose."""

    LIMIT = 1024
    LONGEST = 256  # bytes of a value that is remembered

    def __init__(self, offered: Sequence[bytes]) -> None:
        super().__init__()
        self._offered = tuple(offered)

    def __missing__(self, value: bytes) -> Choice:
        choice = choose(value, self._offered)
        if len(value) <= self.LONGEST:
            if len(self) >= self.LIMIT:
                self.clear()
            self[value] = choice
        return choice
