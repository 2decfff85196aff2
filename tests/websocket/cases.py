"""The Autobahn fuzzing list as a table: what a client sends, and what a server that echoes says.

Numbers are Autobahn's; where it counts one exchange three times (at once, frame by frame, byte by
byte) there is one line here, which every test runs in all three ways (`CUTS`).

Expectations are its strict ones, with these exceptions, which it calls non-strict:

- 3.2 to 3.4, 4.x.3 to 4.x.5, 5.15, 7.1.1, 7.1.6: whether a message is still answered when a mistake
  or a Close is right behind it is up to a server that answers elsewhere than where it reads. Where
  it is not up to it, tests say `strict=True`.
- 6.4: text that can no longer become UTF-8 may be refused there and then, or when it is whole.
- 7.1.5: a Close inside a message is answered, or called a mistake (1002), as by `websockets`.
- 7.13 it calls informational: codes from 5000 on, of which RFC 6455, 7.4.2 says nothing, are
  repeated or refused.

In one point it is stricter than Autobahn, which is content with a connection that ends: a server
that fails a connection has to say why (RFC 6455, 7.1.7), with the code that is named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest

from tests.websocket.frames import (
    BINARY,
    CLOSE,
    CONT,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Frame,
    binary,
    close,
    fragments,
    ping,
    pong,
    sliced,
    text,
)
from tests.websocket.utf8 import EDITED, INVALID, KOSME, MIXED, SURROGATE, VALID

WHOLE: Final = 0
FRAMEWISE: Final = -1
OCTETWISE: Final = 1
CUTS: Final = {"whole": WHOLE, "framewise": FRAMEWISE, "octetwise": OCTETWISE}

GOOD: Final = frozenset({1000})


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent, what has to come back, and which codes the server's Close may have.

    Where nothing in `sent` ends the connection (`ends`), the client closes it with 1000 once
    all answers are there.
    """

    name: str
    sent: tuple[Frame, ...]
    answers: tuple[Frame, ...] = ()
    codes: frozenset[int] = GOOD
    ends: bool = False

    @property
    def size(self) -> int:
        """Bytes on the wire, about."""
        return sum(len(frame.payload) + 8 for frame in self.sent)


def good(name: str, *sent: Frame, answers: tuple[Frame, ...] = ()) -> Case:
    return Case(name, sent, answers)


def echoed(name: str, frame: Frame) -> Case:
    return Case(name, (frame,), (frame,))


def bad(name: str, *sent: Frame, code: int = 1002, answers: tuple[Frame, ...] = ()) -> Case:
    return Case(name, sent, answers, frozenset({code}), ends=True)


def closing(name: str, *sent: Frame, codes: set[int], answers: tuple[Frame, ...] = ()) -> Case:
    return Case(name, sent, answers, frozenset(codes), ends=True)


HELLO: Final = text()
SIZES: Final = (0, 125, 126, 127, 128, 65535, 65536)

FRAMING: Final = (
    *(echoed(f"1.1.{n}", text(b"*" * size)) for n, size in enumerate(SIZES, 1)),
    *(echoed(f"1.2.{n}", binary(b"\xfe" * size)) for n, size in enumerate(SIZES, 1)),
)

PINGS: Final = (
    *(
        good(f"2.{n}", ping(payload), answers=(pong(payload),))
        for n, payload in (
            (1, b""),
            (2, b"Hello, world!"),
            (3, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
            (4, b"\xfe" * 125),
        )
    ),
    bad("2.5", ping(b"\xfe" * 126)),
    good("2.7", pong()),
    good("2.8", pong(b"unsolicited pong payload")),
    good("2.9", pong(b"unsolicited"), ping(b"ping payload"), answers=(pong(b"ping payload"),)),
    good(
        "2.10",
        *(ping(b"payload-%d" % n) for n in range(10)),
        answers=tuple(pong(b"payload-%d" % n) for n in range(10)),
    ),
    bad("2.a a pong that is too long", pong(b"\xfe" * 126)),
    bad("2.b a ping of 65536 bytes", ping(b"\xfe" * 65536)),
)

RESERVED: Final = (
    bad("3.1", Frame(TEXT, b"Hello", rsv=1)),
    *(
        bad(f"3.{rsv}", HELLO, Frame(TEXT, b"Hello", rsv=rsv), ping(), answers=(HELLO,))
        for rsv in (2, 3, 4)
    ),
    bad("3.5", Frame(BINARY, b"\xff" * 8, rsv=5)),
    bad("3.6", Frame(PING, b"Hello", rsv=6)),
    bad("3.7", Frame(CLOSE, b"\x03\xe8", rsv=7)),
    *(bad(f"3.a bits {rsv:03b}", Frame(TEXT, b"", rsv=rsv)) for rsv in range(1, 8)),
    *(bad(f"3.b bits {rsv:03b} of a pong", Frame(PONG, b"", rsv=rsv)) for rsv in range(1, 8)),
    bad("3.c in a continuation", Frame(TEXT, b"a", fin=False), Frame(CONT, b"b", rsv=1)),
)

OPCODES: Final = (
    *(
        case
        for section, first in (("4.1", 3), ("4.2", 11))
        for case in (
            bad(f"{section}.1", Frame(first)),
            bad(f"{section}.2", Frame(first + 1, b"reserved opcode payload")),
            bad(f"{section}.3", HELLO, Frame(first + 2), ping(), answers=(HELLO,)),
            bad(f"{section}.4", HELLO, Frame(first + 3, b"payload"), ping(), answers=(HELLO,)),
            bad(f"{section}.5", HELLO, Frame(first + 4, b"payload"), ping(), answers=(HELLO,)),
        )
    ),
    bad("4.a inside a message", Frame(TEXT, b"a", fin=False), Frame(3, b"b"), Frame(CONT, b"c")),
)

_PARTS: Final = (b"fragment1", b"fragment2", b"fragment3", b"fragment4", b"fragment5")
_FIVE: Final = fragments(TEXT, *_PARTS)
_TWO: Final = fragments(TEXT, *_PARTS[:2])
_JOINED: Final = text(b"".join(_PARTS[:2]))
_LOOSE: Final = Frame(CONT, b"non-continuation payload")
_LOOSE_OPEN: Final = Frame(CONT, b"non-continuation payload", fin=False)

FRAGMENTS: Final = (
    bad("5.1", *fragments(PING, *_PARTS[:2])),
    bad("5.2", *fragments(PONG, *_PARTS[:2])),
    good("5.3 to 5.5", *_TWO, answers=(_JOINED,)),
    good("5.6 to 5.8", _TWO[0], ping(b"x"), _TWO[1], answers=(pong(b"x"), _JOINED)),
    bad("5.9 to 5.11", _LOOSE, HELLO),
    bad("5.12 to 5.14", _LOOSE_OPEN, HELLO),
    bad("5.15", *_TWO, _LOOSE_OPEN, HELLO, answers=(_JOINED,)),
    bad("5.16", *((_LOOSE_OPEN, HELLO) * 2)),
    bad("5.17", *((_LOOSE, HELLO) * 2)),
    bad("5.18", Frame(TEXT, _PARTS[0], fin=False), Frame(TEXT, _PARTS[1])),
    good(
        "5.19, 5.20",
        *(*_FIVE[:2], ping(b"pongme 1!"), *_FIVE[2:4], ping(b"pongme 2!"), _FIVE[4]),
        answers=(pong(b"pongme 1!"), pong(b"pongme 2!"), text(b"".join(_PARTS))),
    ),
    bad("5.a a binary message begins in a text one", _TWO[0], binary()),
    bad("5.b a text one begins, open, in a text one", _TWO[0], _TWO[0]),
    bad("5.c a text one begins in an empty one", Frame(TEXT, fin=False), HELLO),
    bad("5.d and open", Frame(TEXT, fin=False), _TWO[0]),
    bad("5.e behind empty fragments", Frame(TEXT, fin=False), Frame(CONT, fin=False), HELLO),
    bad("5.f a close in fragments", *fragments(CLOSE, b"\x03\xe8", b"bye")),
    bad("5.g an open ping inside a message", _TWO[0], Frame(PING, b"x", fin=False), _TWO[1]),
    good("5.h a pong inside a message", _TWO[0], pong(b"x"), _TWO[1], answers=(_JOINED,)),
    good("5.i two messages", *_TWO, *_FIVE, answers=(_JOINED, text(b"".join(_PARTS)))),
)


def _octets(data: bytes) -> tuple[Frame, ...]:
    return fragments(TEXT, *sliced(data, 1)) if data else (text(b""),)


_EMPTY: Final = fragments(TEXT, b"", b"", b"")
_FAST: Final = (KOSME, b"\xf4\x90\x80\x80", EDITED)
_LATE: Final = (KOSME + b"\xf4", b"\x90", b"\x80\x80" + EDITED)

UTF8: Final = (
    echoed("6.1.1", text(b"")),
    good("6.1.2", *_EMPTY, answers=(text(b""),)),
    good("6.1.3", *fragments(TEXT, b"", b"middle", b""), answers=(text(b"middle"),)),
    echoed("6.2.1", text(MIXED)),
    good("6.2.2", *fragments(TEXT, MIXED[:12], MIXED[12:]), answers=(text(MIXED),)),
    good("6.2.3", *_octets(MIXED), answers=(text(MIXED),)),
    good("6.2.4", *_octets(KOSME), answers=(text(KOSME),)),
    bad("6.3.2", *_octets(SURROGATE), code=1007),
    bad("6.4.1", *fragments(TEXT, *_FAST), code=1007),
    bad("6.4.2", *fragments(TEXT, *_LATE), code=1007),
    bad("6.4.3", text(b"".join(_FAST)), code=1007),
    *(echoed(name, text(data)) for name, data in VALID.items()),
    *(
        good(f"{name} in fragments", *_octets(data), answers=(text(data),))
        for name, data in VALID.items()
        if len(data) > 1
    ),
    *(bad(name, text(data), code=1007) for name, data in INVALID.items()),
    *(
        bad(f"{name} in fragments", *_octets(data), code=1007)
        for name, data in INVALID.items()
        if len(data) > 1
    ),
    bad("6.a a character over two messages", text(b"\xc3"), text(b"\xa4"), code=1007),
    good(
        "6.b a ping inside a character",
        *(Frame(TEXT, b"\xc3", fin=False), ping(b"\xff"), Frame(CONT, b"\xa4")),
        answers=(pong(b"\xff"), text("ä")),
    ),
)

ALLOWED_CODES: Final = (
    *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011),
    # Autobahn's older list forbids the next three; IANA has since registered them.
    *(1012, 1013, 1014, 3000, 3999, 4000, 4999),
)
FORBIDDEN_CODES: Final = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999)

CLOSES: Final = (
    closing("7.1.1", HELLO, close(), codes={1000}, answers=(HELLO,)),
    closing("7.1.2", close(), close(), codes={1000}),
    closing("7.1.3", close(), ping(b"x"), codes={1000}),
    closing("7.1.4", close(), HELLO, codes={1000}),
    closing("7.1.5", _TWO[0], close(), _TWO[1], codes={1000, 1002}),
    closing("7.3.1", Frame(CLOSE), codes={NO_CODE, 1000}),
    bad("7.3.2", Frame(CLOSE, b"a")),
    closing("7.3.3", close(), codes={1000}),
    closing("7.3.4", close(1000, b"Hello World!"), codes={1000}),
    closing("7.3.5", close(1000, b"*" * 123), codes={1000}),
    bad("7.3.6", close(1000, b"*" * 124)),
    bad("7.5.1", close(1000, SURROGATE), code=1007),
    *(closing(f"7.7 {code}", close(code), codes={code, 1000}) for code in ALLOWED_CODES),
    *(bad(f"7.9 {code}", Frame(CLOSE, code.to_bytes(2))) for code in FORBIDDEN_CODES),
    *(
        closing(f"7.13 {code}", Frame(CLOSE, code.to_bytes(2)), codes={code, 1000, 1002})
        for code in (5000, 65535)
    ),
    closing("7.a junk behind a close", close(), Frame(3, b"x", rsv=7), codes={1000}),
    bad("7.b a forbidden code with a reason", close(1006, b"abnormal")),
)

SMALL: Final = PINGS + RESERVED + OPCODES + FRAGMENTS + UTF8 + CLOSES
"""What is run in every cut; the framing's cases are, too, but not byte by byte the long ones."""

MIB: Final = 1 << 20
_LONG: Final = b"*" * (MIB // 4)
LARGE: Final = (
    *(echoed(f"9.1 {size}", text(b"*" * size)) for size in (1 << 16, 1 << 18, MIB, 3 * MIB)),
    *(echoed(f"9.2 {size}", binary(b"\x00\xfe" * (size // 2))) for size in (1 << 18, 3 * MIB)),
    *(
        good(
            f"{section} in fragments of {size}",
            *fragments(opcode, *sliced(b"*" * (MIB // 4), size)),
            answers=(Frame(opcode, b"*" * (MIB // 4)),),
        )
        for section, opcode in (("9.3", TEXT), ("9.4", BINARY))
        for size in (64, 256, 1024, 4096, 16384, 65536)
    ),
    closing("7.1.6", text(_LONG), close(), ping(b"x"), codes={1000}, answers=(text(_LONG),)),
    good(
        "10.1.1",
        *fragments(TEXT, *sliced(b"*" * 65536, 1300)),
        answers=(text(b"*" * 65536),),
    ),
)
CHOPPED: Final = (64, 128, 256, 512, 1024, 2048)
"""Sections 9.5 and 9.6: a large message in writes of so many bytes."""


def ways(cases: tuple[Case, ...], *cuts: str) -> pytest.MarkDecorator:
    """Each case, sent in each of these ways; long ones not byte by byte, but in chops of 997."""
    table = []
    for case in cases:
        for how in cuts or CUTS:
            if how == "framewise" and len(case.sent) == 1:
                continue
            cut = 997 if how == "octetwise" and case.size > 2048 else CUTS[how]
            table.append(pytest.param(case, cut, id=f"{case.name} {how}"))
    return pytest.mark.parametrize(("case", "cut"), table)
