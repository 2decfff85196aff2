"""Cross-origin requests (Fetch, 3.3): who may read the answers, and preflights answered here.

One rule serves the gateway's own endpoints and proxied routes alike. A request's lines are set
before anybody else is asked, so that whatever answers it carries them. Origins are compared byte
for byte, as a browser writes them (RFC 6454, 6.2); none is ever echoed that was not listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.errors import Forbidden
from gateway.exchange import Exchange, Response
from gateway.http1.fields import TOKEN

REPLACED: Final = frozenset(
    b"access-control-" + name
    for name in (
        b"allow-origin", b"allow-credentials", b"allow-methods", b"allow-headers",
        b"allow-private-network", b"expose-headers", b"max-age",
    )
)  # fmt: skip
"""What an upstream says of this gives way: two answers to one question are none."""

METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
EXPOSED: Final = (
    b"X-Request-ID", b"X-RateLimit-Limit", b"X-RateLimit-Remaining", b"X-RateLimit-Reset",
    b"RateLimit", b"RateLimit-Policy", b"Retry-After",
)  # fmt: skip
"""What the gateway itself tells, and a page could not read otherwise."""

REMEMBERED: Final = 4096  # origins that matched a pattern; the next ones are matched each time
VARY: Final = b"Vary: Origin"
VARY_HEADERS: Final = b"Vary: Access-Control-Request-Headers"
ALLOW_ORIGIN: Final = b"Access-Control-Allow-Origin: "
ALLOW_HEADERS: Final = b"Access-Control-Allow-Headers: "
# Host names in the form that browsers give them: lower case, international ones in ASCII.
LABELS: Final = rb"(?:[a-z0-9_-]{1,63}\.)+"
PORTS: Final = rb"(?::[1-9][0-9]{0,4})?"
HEADER_NAMES: Final = re.compile(rb"[\t ]*" + TOKEN + rb"++(?:[\t ]*,[\t ]*" + TOKEN + rb"++)*+")


class Origins:
    """Those that may: listed as they are, or by patterns (`https://*.example.com`, `:*`)."""

    def __init__(self, listed: Iterable[str]) -> None:
        """`listed` are origins as `gateway.config.checks.origin` leaves them."""
        names = [each.encode() for each in listed]
        self.any = b"*" in names
        self.exact = frozenset(name for name in names if b"*" not in name)
        patterns = [pattern_of(name) for name in names if b"*" in name and name != b"*"]
        self._patterns = re.compile(b"|".join(patterns)) if patterns else None

    def __contains__(self, origin: bytes) -> bool:
        if self.any or origin in self.exact:
            return True
        return self._patterns is not None and self._patterns.fullmatch(origin) is not None


def pattern_of(listed: bytes) -> bytes:
    """The expression for one listed origin: a `*` in front of the host is one label or more."""
    scheme, _, authority = listed.partition(b"://")
    host = authority.removesuffix(b":*")
    name = host.removeprefix(b"*.")
    return b"%b://%b%b%b" % (
        re.escape(scheme),
        LABELS if name != host else b"",
        re.escape(name),
        PORTS if host != authority else b"",
    )


class Cors:
    """A rule: which origins, and what they may do."""

    def __init__(
        self,
        origins: Iterable[str],
        *,
        methods: Iterable[bytes] = METHODS,
        headers: Sequence[bytes] = (b"*",),
        expose: Iterable[bytes] = (),
        credentials: bool = False,
        max_age: int = 600,
    ) -> None:
        """`max_age` is how many seconds a browser may remember a preflight's answer.

        `headers` that are `*` alone allow whatever is asked for. `expose` comes on top of
        `EXPOSED`.
        """
        self._origins = known = Origins(origins)
        exposed = b", ".join(dict.fromkeys((*EXPOSED, *expose)))
        allowed = (b"Access-Control-Allow-Credentials: true",) if credentials else ()
        expose_line = b"Access-Control-Expose-Headers: " + exposed
        # Where every origin is told the same, caches need not tell them apart (Fetch, 3.3.6).
        self._others: tuple[bytes, ...] = () if known.any else (VARY,)
        self._behind = b"\r\n".join((b"", *allowed, expose_line, *self._others))
        if known.any:
            self._others = (ALLOW_ORIGIN + b"*" + self._behind,)
        self._known = {name: (ALLOW_ORIGIN + name + self._behind,) for name in known.exact}
        self._preflight: tuple[bytes, ...] = (
            b"Access-Control-Allow-Methods: " + b", ".join(methods),
            b"Access-Control-Max-Age: %d" % max_age,
        )
        self._reflects = tuple(headers) == (b"*",)
        if headers and not self._reflects:
            self._preflight += (ALLOW_HEADERS + b", ".join(headers),)

    def announce(self, exchange: Exchange) -> bool:
        """Set the lines of whatever the answer will be; says whether the origin may read it."""
        origin = origin_of(exchange)
        if self._origins.any:
            exchange.lines += self._others
            return True
        lines = self._known.get(origin)
        if lines is None and origin and origin in self._origins:
            lines = (ALLOW_ORIGIN + origin + self._behind,)
            if len(self._known) < REMEMBERED:
                self._known[origin] = lines
        exchange.lines += self._others if lines is None else lines
        return lines is not None

    def enter(self, exchange: Exchange) -> Response | None:
        """Answers preflights. Raises `Forbidden` for one of an origin that may not."""
        head = exchange.head
        allowed = self.announce(exchange)
        if head.method != b"OPTIONS" or not head.values(b"access-control-request-method"):
            return None
        if not head.values(b"origin"):
            return None  # an OPTIONS request of its own
        if not allowed:
            raise Forbidden("this origin may not ask for that")
        # What is asked need not be compared: the browser does that with what it is told, and
        # says on its console what is missing.
        return Response(204, lines=(*self._preflight, *self._headers(exchange)))

    def _headers(self, exchange: Exchange) -> tuple[bytes, ...]:
        if not self._reflects:
            return ()
        asked = b", ".join(exchange.head.values(b"access-control-request-headers"))
        if HEADER_NAMES.fullmatch(asked) is None:
            return (VARY_HEADERS,)
        return ALLOW_HEADERS + asked, VARY_HEADERS


class Unrouted:
    """The rule for errors where no route matched: lines, and no answers."""

    def __init__(self, cors: Cors) -> None:
        self._cors = cors

    def enter(self, exchange: Exchange) -> None:
        self._cors.announce(exchange)


def origin_of(exchange: Exchange) -> bytes:
    """The request's origin; nothing where there is none, or more than one."""
    head = exchange.head
    origin = head.origin
    if origin is None:  # clients repeat their heads: what was found once is kept with it
        origin = head.origin = _found(head.block)
    return origin


def _found(block: bytes) -> bytes:
    # Searched as a whole, which is several times faster than taking every line apart.
    lower = b"\n" + block.lower()
    at = lower.find(b"\norigin:")
    if at < 0 or lower.find(b"\norigin:", at + 1) >= 0:
        return b""
    return block[at + len(b"origin:") :].partition(b"\r")[0].strip(b" \t")
