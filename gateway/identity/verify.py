"""Is this token good, and who is it? (RFC 7519, with the advice of RFC 8725.)

Nothing that a token says is acted on before its signature is checked, but for two names: `alg`,
which has to be on an issuer's list, and `kid`, which is looked up in a table. `jku`, `x5u`, `jwk`
and `x5c`, by which a token brings its own key, are not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeGuard

from gateway.exchange import Principal
from gateway.identity import jose
from gateway.identity.jose import Key

TOKEN_BYTES: Final = 8192  # as much as a header line may have
COMPACT: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
TYPES: Final = frozenset(("jwt", "at+jwt"))  # RFC 8725, 3.11; RFC 9068, 2.1
TRIES: Final = 4  # keys of one token: a guess must not cost more than a few checks
LONGEST_SUBJECT: Final = 256  # characters
TIER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

Reason = Literal[
    "malformed", "algorithm", "unknown_key", "signature", "claims", "issuer", "audience",
    "expired", "not_yet_valid", "disabled",
]  # fmt: skip


class Refused(Exception):
    """A token that is not accepted. `reason` is one of a fixed few, a label for metrics."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class UnknownKey(Refused):
    """No key of that name: `sources` may have a newer set."""

    def __init__(self, sources: Sequence[Keys]) -> None:
        super().__init__("unknown_key")
        self.sources = sources


class Keys(Protocol):
    """An issuer's keys."""

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Those that may have signed a token with this header."""

    async def renew(self) -> None:
        """Ask for newer ones, unless that was done just now.

        Raises `StoreDown` when there are none at all.
        """


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that stand in the settings, whatever name a token gives them."""

    keys: tuple[Key, ...]

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        return [key for key in self.keys if key.algorithm == algorithm]

    async def renew(self) -> None:
        """There are no newer ones."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are accepted, and for whom they have to be meant.

    Without `audiences`, a token that names one is meant for somebody else (RFC 7519, 4.1.3).
    `leeway` is in seconds; `barred` has the subjects that are let in no more.
    """

    name: str
    algorithms: Collection[str]
    keys: Keys
    audiences: frozenset[str] = frozenset()
    leeway: float = 0.0
    barred: Container[str] = frozenset()

    def accept(self, claims: Mapping[str, Any], now: float) -> float:
        """Until when the claims are good, in unix seconds. Raises `Refused`."""
        audience = claims.get("aud")
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not _is_time(expires) or not _is_time(begins):
            raise Refused("claims")  # one without an end is refused, too
        asked = bool(self.audiences) or audience is not None
        if asked and self.audiences.isdisjoint(_texts(audience)):
            raise Refused("audience")
        if now >= expires + self.leeway:
            raise Refused("expired")
        if now < begins - self.leeway:
            raise Refused("not_yet_valid")
        if claims.get("sub") in self.barred:
            raise Refused("disabled")
        return float(expires + self.leeway)


@dataclass(frozen=True, slots=True)
class Verified:
    """Whom a good token names, and until when it is good, in unix seconds."""

    principal: Principal
    until: float


class Verifier:
    """Checks tokens of several issuers."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers = {
            algorithm: [issuer for issuer in issuers if algorithm in issuer.algorithms]
            for algorithm in jose.ALGORITHMS
        }

    def verify(self, token: bytes, now: float) -> Verified:
        """Raises `Refused`, as `UnknownKey` where newer keys may help. `now`: unix seconds."""
        match = COMPACT.fullmatch(token) if len(token) <= TOKEN_BYTES else None
        if match is None:
            raise Refused("malformed")
        head, payload, signature = map(_decoded, match.groups())
        algorithm, kid = _header(head)
        issuers = self._issuers.get(algorithm)
        if not issuers:
            raise Refused("algorithm")
        message = token[: match.end(2)]
        reason: Reason = "unknown_key"
        for issuer in issuers:
            for key in issuer.keys.find(kid, algorithm)[:TRIES]:
                if not key.verifies(message, signature):
                    reason = "issuer" if reason == "issuer" else "signature"
                    continue
                claims = _object(payload)
                if claims.get("iss") == issuer.name:
                    principal = principal_of(claims)
                    return Verified(principal, issuer.accept(claims, now))
                reason = "issuer"
        if reason == "unknown_key":
            raise UnknownKey([issuer.keys for issuer in issuers])
        raise Refused(reason)


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """Whom the claims name. Raises `Refused` without a subject that could stand in a log."""
    subject, tier = claims.get("sub"), claims.get("tier")
    if not (
        isinstance(subject, str) and 0 < len(subject) <= LONGEST_SUBJECT and subject.isprintable()
    ):
        raise Refused("claims")
    return Principal(
        "jwt",
        subject,
        tier if isinstance(tier, str) and TIER.fullmatch(tier) else "free",
        scopes_of(claims),
        owner=claims["iss"],
        claims=claims,
    )


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """RFC 8693, 4.2 has `scope`, a text; others write `scp` or `scopes`, and lists."""
    found: set[str] = set()
    for name in ("scope", "scp", "scopes"):
        value = claims.get(name)
        found.update(value.split() if isinstance(value, str) else _texts(value))
    return frozenset(found)


def _header(data: bytes) -> tuple[str, str | None]:
    """The algorithm and the key that a header names."""
    header = _object(data)
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if "crit" in header or "b64" in header:  # RFC 7515, 4.1.11: extensions, none of them known
        raise Refused("malformed")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise Refused("malformed")
    if not isinstance(kid, str | None) or len(kid or "") > jose.KID_CHARACTERS:
        raise Refused("malformed")
    if not isinstance(algorithm, str):
        raise Refused("algorithm")
    return algorithm, kid


def _object(data: bytes) -> dict[str, Any]:
    try:
        return jose.read_object(data)
    except ValueError:
        raise Refused("malformed") from None


def _decoded(text: bytes) -> bytes:
    try:
        return jose.decoded(text)
    except ValueError:
        raise Refused("malformed") from None


def _texts(value: object) -> list[str]:
    """A text, or the texts of a list."""
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _is_time(value: object) -> TypeGuard[float]:
    """A number of seconds (RFC 7519, 2) that is one in a float, too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
