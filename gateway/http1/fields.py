"""Header fields (RFC 9110, 5; RFC 9112, 5): their grammar, and what each means to a proxy.

A line is checked by one regular expression, which is all of the grammar: a bare CR or LF, a
folded line, a space before the colon or a control byte is not in it. Peers send the same lines
over and over (which is why HTTP/2 has HPACK), so what a line turned out to be is remembered, and
most lines of most heads cost a dictionary look-up. No byte of a line that passes is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final

from gateway.errors import BadRequest

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
LINE: Final = re.compile(rb"(" + TOKEN + rb"++):([\t -~\x80-\xff]*+)")
BARE_LF: Final = re.compile(rb"(?<!\r)\n")
LONGEST_LENGTH: Final = 18  # digits of a Content-Length: no body has more bytes

CHUNKED: Final = -1  # a body's length when chunks carry it
UNTIL_CLOSE: Final = -2  # and when the end of the connection ends it (answers only)

# What a field means to a proxy. Plain integers: an enum's members cost a look-up each time.
PLAIN: Final = 0  # nothing: it passes
HOST: Final = 1
CONNECTION: Final = 2
CONTENT_LENGTH: Final = 3
TRANSFER_ENCODING: Final = 4
UPGRADE: Final = 5
EXPECT: Final = 6
TE: Final = 7
HOP: Final = 8  # stops here (RFC 9110, 7.6.1)
FORWARDED: Final = 9  # who spoke to the peer: believed from trusted peers only
FORWARDED_FOR: Final = 10
FORWARDED_PROTO: Final = 11
FORWARDED_HOST: Final = 12
REQUEST_ID: Final = 13
TRACEPARENT: Final = 14
COOKIE: Final = 15
ONCE: Final = 16  # passes, but two of them are refused: which one counts would be a guess
TRAILER: Final = 17
DATE: Final = 18
SERVER: Final = 19
TRACESTATE: Final = 21  # passes if the traceparent does
EDGE: Final = 22  # passes, unless a policy of the route says it better
KEEP_ALIVE: Final = 20  # a Connection field that says this and nothing else

Field = tuple[int, bytes]
"""What a line is: its kind, and its value without the white space around it."""


class HeadLimits:
    """Bounds on one head, in bytes without line ends, and in fields.

    `quick` is what a head may have, line ends and all, without a closer look.
    """

    __slots__ = ("count", "field", "line", "quick", "total")

    def __init__(
        self, line: int = 8192, field: int = 8192, total: int = 32768, count: int = 100
    ) -> None:
        self.line = line
        self.field = field
        self.total = total
        self.count = count
        self.quick = min(field, total)


class Lines(dict[bytes, Field | None]):
    """What each line met turned out to be: None for one that just passes.

    Bounded, for lines are the peers' to choose: when it is full it starts afresh. Lines with
    credentials are not remembered, nor are long ones, which seldom repeat, nor those of names
    that come with other values all the time.
    """

    LIMIT = 8192
    LONGEST = 256
    VALUES = 64  # of a name that are remembered
    FORGOTTEN = frozenset((COOKIE, ONCE, REQUEST_ID, TRACEPARENT, TRACESTATE))

    def __init__(self, kind_of: Callable[[bytes], int]) -> None:
        super().__init__()
        self._kind_of = kind_of
        self._names: dict[bytes, list[int]] = {}  # as written: kind, and values remembered

    def __missing__(self, line: bytes) -> Field | None:
        """Raises `BadRequest` for what is no field line."""
        match = LINE.fullmatch(line)
        if match is None:
            raise BadRequest("a header field is malformed")
        name, value = match.groups()
        known = self._names.get(name)
        if known is None:
            known = self._learn(name)
        kind = known[0]
        if kind == PLAIN and (known[1] >= self.VALUES or len(line) > self.LONGEST):
            return None
        # Parsers disagree on other white space around a coding, and framing is no place for that.
        value = value.removeprefix(b" ") if kind == TRANSFER_ENCODING else value.strip(b" \t")
        if kind == CONNECTION and value.lower() == b"keep-alive":
            kind = KEEP_ALIVE
        field = None if kind == PLAIN else (kind, value)
        if len(line) <= self.LONGEST and kind not in self.FORGOTTEN:
            if len(self) >= self.LIMIT:
                self.clear()
                self._names.clear()
            self[line] = field
            known[1] += 1
        return field

    def _learn(self, name: bytes) -> list[int]:
        if len(self._names) >= self.LIMIT:
            self._names.clear()
        known = self._names[name] = [self._kind_of(name.lower()), 0]
        return known


def name_of(line: bytes) -> bytes:
    """A checked line's name, in lower case."""
    return line[: line.index(b":")].lower()


def value_of(line: bytes) -> bytes:
    """A checked line's value, without the white space around it (RFC 9112, 5.1)."""
    return line[line.index(b":") + 1 :].strip(b" \t")


def tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list of tokens, lower-case (RFC 9110, 5.6.1)."""
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def without(lines: Iterable[bytes], names: Collection[bytes]) -> list[bytes]:
    """Those lines whose (lower-case) name is not among `names`."""
    return [line for line in lines if name_of(line) not in names]


def length_of(value: bytes) -> int:
    """A Content-Length's value (RFC 9110, 8.6): digits only; -1 for anything else."""
    return int(value) if value.isdigit() and len(value) <= LONGEST_LENGTH else -1


def too_large(lines: list[bytes], limits: HeadLimits) -> bool:
    """Whether a head's field lines are over a limit.

    To be asked when there are more than `count` lines or `quick` bytes: no smaller head is.
    """
    return (
        len(lines) > limits.count
        or sum(map(len, lines)) > limits.total
        or max(map(len, lines), default=0) > limits.field
    )
