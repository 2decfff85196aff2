"""One bearer token for all who may (RFC 6750); several while it is rotated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from hmac import compare_digest

from gateway.errors import Unauthorized
from gateway.exchange import Exchange, Principal

AUTHORIZATION = b"authorization"
BEARER = b"bearer "
INVALID = b'WWW-Authenticate: Bearer realm="gateway", error="invalid_token"'


class Token:
    """Compares in constant time: digests, so that a length tells nothing either."""

    challenge = b'Bearer realm="gateway"'  # RFC 6750, 3: never without a parameter

    def __init__(self, tokens: Iterable[str], *, only: bool, failed: Callable[[str], None]) -> None:
        """`only`: no other way takes a bearer token, so what is not ours is refused here."""
        self._known = [sha256(token.encode()).digest() for token in tokens]
        self._holder = Principal("token", "token")  # the same before and after a rotation
        self._only = only
        self._failed = failed

    def authenticate(self, exchange: Exchange) -> Principal | None:
        """Raises `Unauthorized`."""
        value = exchange.head.once.get(AUTHORIZATION)
        if value is None or value[:7].lower() != BEARER:
            return None
        given = sha256(value[7:].strip(b" ")).digest()
        # All of them are compared: the time tells neither which one it was nor how much of it.
        if sum(compare_digest(given, known) for known in self._known):
            return self._holder
        if not self._only:
            return None
        self._failed("unknown_token")
        raise Unauthorized("the token is not valid", fields=(INVALID,))
