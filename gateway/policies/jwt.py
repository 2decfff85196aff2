"""Signed tokens: who a request's JSON Web Token says is asking, and what of it goes upstream.

A token that was verified is remembered by its SHA-256 until it expires, so that the next request
with it costs two look-ups. It comes in `Authorization: Bearer`, and where a browser cannot set
that, for a WebSocket, as `?token=` in the query. From there it goes upstream as the header that
it should have been: queries are what other people's logs are full of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from hashlib import sha256
from time import time
from typing import Any, Final

from gateway.errors import Unauthorized
from gateway.exchange import Exchange, Principal
from gateway.identity.verify import Keys, Refused, UnknownKey, Verified, Verifier

REMEMBERED: Final = 4096  # tokens of a worker, of 1 to 2 KiB each in memory
AUTHORIZATION: Final = b"authorization"
BEARER: Final = b"bearer "
QUERY_NAME: Final = b"token="
MOVED: Final = b"Authorization: Bearer "
LONGEST_VALUE: Final = 4096  # bytes of a header made from a claim
EXPLAINED: Final = {
    "expired": "the token has expired",
    "not_yet_valid": "the token is not valid yet",
}


class Jwt:
    """Finds out who asks by a token; one for all routes of a worker."""

    challenge = b'Bearer realm="gateway"'  # RFC 6750, 3: never without a parameter

    def __init__(
        self,
        verifier: Verifier,
        *,
        failed: Callable[[str], None],
        clock: Callable[[], float] = time,
    ) -> None:
        """`failed` hears the reason, one of a fixed few, of each token that is refused."""
        self._verifier = verifier
        self._failed = failed
        self._clock = clock
        self._known: dict[bytes, Verified] = {}

    def forget(self) -> None:
        """Verify all tokens anew: the keys are others."""
        self._known.clear()

    def authenticate(self, exchange: Exchange) -> Principal | Coroutine[Any, Any, Principal] | None:
        """Who asks; None for a request without a token. Raises `Unauthorized`, `StoreDown`."""
        token = bearer(exchange)
        if token is None:
            token = query_token(exchange)
        if token is None:
            token = moved(exchange)
            if token is None:
                return None
        digest = sha256(token).digest()
        known = self._known.get(digest)
        now = self._clock()
        if known is not None and now < known.until:
            return known.principal
        try:
            return self._remember(digest, self._verifier.verify(token, now))
        except UnknownKey as unknown:
            return self._ask(token, digest, unknown.sources)
        except Refused as refused:
            raise self._error(refused.reason) from None

    async def _ask(self, token: bytes, digest: bytes, sources: Sequence[Keys]) -> Principal:
        """Once more, with newer keys."""
        for source in sources:
            await source.renew()
        try:
            return self._remember(digest, self._verifier.verify(token, self._clock()))
        except Refused as refused:
            raise self._error(refused.reason) from None

    def _remember(self, digest: bytes, verified: Verified) -> Principal:
        known = self._known
        if len(known) >= REMEMBERED:
            del known[next(iter(known))]  # the oldest
        known[digest] = verified
        return verified.principal

    def _error(self, reason: str) -> Unauthorized:
        self._failed(reason)
        return invalid_token(EXPLAINED.get(reason, "the token is not valid"))


def invalid_token(why: str) -> Unauthorized:
    """RFC 6750, 3.1."""
    line = f'WWW-Authenticate: Bearer error="invalid_token", error_description="{why}"'
    return Unauthorized(why, fields=(line.encode(),))


def bearer(exchange: Exchange) -> bytes | None:
    """The token in `Authorization`, which stands once (RFC 6750, 2.1)."""
    value = exchange.head.once.get(AUTHORIZATION)
    if value is None or value[:7].lower() != BEARER:
        return None
    return value[7:].strip(b" ")


def query_token(exchange: Exchange) -> bytes | None:
    """The token in the query, which is then moved to where it belongs.

    Browsers can set no header for a WebSocket, nor for an EventSource.
    """
    route = exchange.route
    allowed = exchange.head.upgrade or (route is not None and route.query_token)
    if not allowed or QUERY_NAME not in exchange.query:
        return None
    parts = exchange.query[1:].split(b"&")
    tokens = [part[len(QUERY_NAME) :] for part in parts if part.startswith(QUERY_NAME)]
    if not tokens:
        return None
    rest = b"&".join(part for part in parts if not part.startswith(QUERY_NAME))
    exchange.query = b"?" + rest if rest else b""
    exchange.withheld |= {AUTHORIZATION}
    exchange.upward = (*exchange.upward, MOVED + tokens[0])
    return tokens[0] if len(tokens) == 1 else b""  # of two, none is the one


def moved(exchange: Exchange) -> bytes | None:
    """The token that was in the query when this was asked for the first time."""
    for line in exchange.upward:
        if line.startswith(MOVED):
            return line[len(MOVED) :]
    return None


class Claims:
    """Sends claims upstream as headers; what a client sends under their names stops here.

    It comes behind the policy that finds out who asks. Whoever that is, and be it nobody, the
    client's own headers of these names, and those that look like them, are withheld.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        """`headers`: a header's name by the claim's."""
        self._headers = [(claim, name.encode()) for claim, name in headers.items()]
        self._withheld = frozenset(
            name.lower().replace(b"_", b"-") for _, name in self._headers
        )  # as the head is searched: with `-` for `_`
        self._made: dict[int, tuple[Principal, tuple[bytes, ...]]] = {}

    def enter(self, exchange: Exchange) -> None:
        exchange.withheld |= self._withheld
        principal = exchange.principal
        if principal is None or not principal.claims:
            return
        made = self._made.get(id(principal))  # it is the same one for as long as it is remembered
        if made is None or made[0] is not principal:
            if len(self._made) >= REMEMBERED:
                self._made.clear()
            made = self._made[id(principal)] = (principal, self.lines(principal.claims))
        exchange.upward = (*exchange.upward, *made[1])

    def lines(self, claims: Mapping[str, Any]) -> tuple[bytes, ...]:
        """A header line for each claim that can stand in one."""
        found = ((name, field_value(claims.get(claim))) for claim, name in self._headers)
        return tuple(b"%b: %b" % (name, value) for name, value in found if value)


def field_value(claim: object) -> bytes:
    """A claim as a header's value (RFC 9110, 5.5); nothing where it would not stay what it is.

    What holds a control character, or a space at an end that parsers cut off, is left out and not
    mended: mended, it would be another user's name. A list is joined by commas, if none is in it.
    """
    text = ""
    if isinstance(claim, str):
        text = claim
    elif isinstance(claim, bool):
        text = "true" if claim else "false"
    elif isinstance(claim, int) or (isinstance(claim, float) and math.isfinite(claim)):
        text = str(claim)
    elif isinstance(claim, dict):
        text = json.dumps(claim, separators=(",", ":"))
    elif isinstance(claim, list):
        items = [field_value(each) for each in claim]
        return b",".join(items) if all(each and b"," not in each for each in items) else b""
    if not text.isprintable() or text != text.strip():
        return b""
    data = text.encode()
    return data if len(data) <= LONGEST_VALUE else b""
