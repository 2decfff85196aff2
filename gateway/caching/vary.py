"""Which stored answer a request selects (RFC 9111, 4.1): keys, and Vary in all its spellings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from gateway.caching.directives import Fields
from gateway.http1.fields import name_of, value_of

# Lists whose members stand in no order that counts, whatever their case (RFC 9110, 12.5.3 and 4).
UNORDERED: Final = frozenset((b"accept-language", b"accept-encoding"))


# They are part of every key (`key_of`).
IN_THE_KEY: Final = frozenset((b"host", b"x-forwarded-host", b"x-forwarded-proto"))
# The gateway writes them anew for each request or client: no answer to one is another's.
EACH_ITS_OWN: Final = frozenset(
    (b"*", b"x-forwarded-for", b"forwarded", b"x-request-id", b"traceparent", b"tracestate")
)


def varies(fields: Fields) -> tuple[bytes, ...] | None:
    """The fields of a request that chose the answer, sorted; None where nobody can tell (`*`)."""
    values = fields.get(b"vary")
    if not values:
        return ()
    names = {
        name for value in values for part in value.lower().split(b",") if (name := part.strip())
    }
    names = {name.replace(b"_", b"-") for name in names}
    return None if names & EACH_ITS_OWN else tuple(sorted(names - IN_THE_KEY))


def selecting(names: Sequence[bytes], lines: Iterable[bytes]) -> bytes:
    """What a request (its header lines) says in these fields, so that equal means the same.

    Several lines of a name are one list, white space around commas says nothing. A field that is
    not there is told from one that is empty. Hashed: there may be credentials in it.
    """
    said: dict[bytes, list[bytes]] = {}
    for line in lines:
        name = name_of(line).replace(b"_", b"-")  # to a WSGI origin, one is as good as the other
        if name in names:
            said.setdefault(name, []).append(value_of(line))
    parts = []
    for name in names:
        values = said.get(name)
        parts.append(b"-" if values is None else b"+" + _normal(name, values))
    # No value has a line end in it.
    return blake2b(b"\n".join(parts), digest_size=16).hexdigest().encode()


def _normal(name: bytes, values: Sequence[bytes]) -> bytes:
    members = [part.strip(b" \t") for part in b",".join(values).split(b",")]
    if name in UNORDERED:
        members = sorted(part.lower().replace(b" ", b"") for part in members if part)
    return b",".join(members)


def key_of(scheme: bytes, host: bytes | None, path: bytes, query: bytes) -> bytes:
    """What an answer is kept under: the target URI (RFC 9111, 2), host and scheme normalised."""
    name = (host or b"").lower()
    name = name.removesuffix(b":443" if scheme == b"https" else b":80")
    return b"%b://%b%b%b" % (scheme, name, path, query)


class Asking(Protocol):
    """A request on its way up: what the client sent, and what policies made of it."""

    @property
    def head(self) -> Heading: ...
    @property
    def upward(self) -> tuple[bytes, ...]: ...
    @property
    def withheld(self) -> frozenset[bytes]: ...


class Heading(Protocol):
    @property
    def lines(self) -> list[bytes]: ...


def sent_up(exchange: Asking) -> Sequence[bytes]:
    """The header lines that an origin chooses by: those that stop here are none of them."""
    lines = exchange.head.lines
    if not (exchange.upward or exchange.withheld):
        return lines
    kept = (line for line in lines if name_of(line).replace(b"_", b"-") not in exchange.withheld)
    return [*kept, *exchange.upward]
