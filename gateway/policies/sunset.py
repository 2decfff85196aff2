"""A route that will go: it says since when it is deprecated, and after its last day it is gone.

`Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link` (RFC 8288; `successor-version` is
RFC 5829's) stand in every answer, the last one included. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final
from wsgiref.handlers import format_date_time

from gateway.errors import Gone
from gateway.exchange import Exchange

REPLACED: Final = frozenset((b"deprecation", b"sunset"))
"""What an upstream says of itself gives way: it does not know how long it is served here."""


class Sunset:
    """Everything it says is put together here, once."""

    def __init__(
        self,
        since: int,
        sunset: int | None = None,
        *,
        links: dict[str, str] | None = None,
        now: Callable[[], float],
    ) -> None:
        """`links` are URI references by their relation: `successor-version`, `sunset`, ..."""
        self._now = now
        self._end = inf if sunset is None else sunset
        lines = [b"Deprecation: @%d" % since]  # RFC 9745, 2.1: a structured date
        if sunset is not None:
            lines.append(b"Sunset: " + format_date_time(sunset).encode())
        lines += [
            b'Link: <%b>; rel="%b"' % (place.encode(), relation.encode())
            for relation, place in (links or {}).items()
        ]
        self._lines = tuple(lines)

    def enter(self, exchange: Exchange) -> None:
        """Raises `Gone` from the end on."""
        exchange.lines += self._lines
        if self._now() >= self._end:
            raise Gone
