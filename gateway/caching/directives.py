"""Cache directives (RFC 9111, 5.2), and the fields of a head by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gateway.http1.fields import name_of, value_of

Fields = Mapping[bytes, Sequence[bytes]]
"""Values by lower-case name, in order."""

Directives = Mapping[bytes, bytes | None]
"""By lower-case name; None where there is no argument. Of several, the first counts (4.2.1)."""

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# What does not follow the grammar runs to the next comma outside of quotes, and is no directive.
DIRECTIVE: Final = re.compile(
    rb"[ \t]*+(?:(?P<name>"
    + TOKEN
    + rb")(?:=(?:\"(?P<quoted>(?:[^\"\\]|\\.)*+)\"|(?P<token>[^,\"]*+)))?[ \t]*+(?=,|\Z)"
    rb"|(?:\"(?:[^\"\\]|\\.)*+\"|[^,])*+)(?:,|\Z)",
    re.DOTALL,
)
NAME: Final = re.compile(rb"[ \t]*+(" + TOKEN + rb")")
RESTRICTING: Final = frozenset((b"no-store", b"no-cache", b"private", b"must-revalidate"))
"""In doubt these hold, and hold for the whole answer."""

LONGEST: Final = 2**31  # s; RFC 9111, 1.2.2: what is larger counts as this
DIGITS: Final = 18


def fields_of(lines: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """A head's fields by name."""
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        found.setdefault(name_of(line), []).append(value_of(line))
    return found


def directives(values: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """The directives in a Cache-Control field's values.

    What is malformed is no directive, unless it is one that restricts.
    """
    text = b",".join(values)
    found: dict[bytes, bytes | None] = {}
    for match in DIRECTIVE.finditer(text):
        name, quoted, value = match["name"], match["quoted"], match["token"]
        if quoted is not None:
            value = re.sub(rb"\\(.)", rb"\1", quoted)
        elif name is None:
            begin = NAME.match(match[0])
            name = begin[1] if begin is not None else b""
            if name.lower() not in RESTRICTING:
                continue
        name = name.lower()
        if name in RESTRICTING and not value:
            found[name] = None
        else:
            found.setdefault(name, value)
    return found


def seconds(found: Directives, name: bytes) -> int | None:
    """A directive's delta-seconds; None if it is not there.

    Nonsense is 0: invalid freshness makes an answer stale (RFC 9111, 4.2.1).
    """
    if name not in found:
        return None
    return delta(found[name]) or 0


def delta(value: bytes | None) -> int | None:
    """Delta-seconds (RFC 9111, 1.2.2); None for what is none."""
    if not value or not value.isdigit():
        return None
    return min(int(value), LONGEST) if len(value) <= DIGITS else LONGEST


def listed(value: bytes | None) -> frozenset[bytes]:
    """The field names that a directive's argument lists, lower-case."""
    names = (value or b"").lower().split(b",")
    return frozenset(name for part in names if (name := part.strip(b" \t")))
