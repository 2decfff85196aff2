"""Keys and signatures (RFC 7515, RFC 7517, RFC 7518): all that PyJWT is to us.

A key serves one algorithm, and which one follows from the key itself, never from a token. That
is what keeps a public key out of an HMAC, and a token from choosing how it is checked.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jwt import PyJWTError
from jwt.algorithms import Algorithm, get_default_algorithms

ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    name: algorithm
    for name, algorithm in get_default_algorithms().items()
    if name in ("HS256", "RS256", "ES256", "EdDSA")
}
# What a public key is made of, by its type and curve; whatever else a set says of it, a private
# part above all, is left out. No shared secret (`oct`) is taken from where anybody can read it.
MEMBERS: Final[Mapping[tuple[object, object], tuple[str, tuple[str, ...]]]] = {
    ("RSA", None): ("RS256", ("kty", "n", "e")),
    ("EC", "P-256"): ("ES256", ("kty", "crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("kty", "crv", "x")),
}
LEAST_RSA_BITS: Final = 2048  # RFC 7518, 3.3
MOST_RSA_BITS: Final = 8192  # a check takes 0.3 ms; beyond it, requests pay for the issuer's taste
MOST_KEYS: Final = 100  # of a set; the rest is not looked at
KID_CHARACTERS: Final = 256


@dataclass(frozen=True, slots=True)
class Key:
    """A key for one algorithm. `kid` is its name in its set, if it has one."""

    algorithm: str
    kid: str | None
    material: Any = field(repr=False)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        return ALGORITHMS[self.algorithm].verify(message, self.material, signature)


def shared(secret: bytes) -> Key:
    """A secret that signs and verifies with HS256.

    Raises ValueError for one that is a public key, a certificate or a JWK in disguise.
    """
    try:
        return Key("HS256", None, ALGORITHMS["HS256"].prepare_key(secret))
    except PyJWTError:
        raise ValueError("the secret looks like a key of another kind") from None


def read_set(data: bytes) -> tuple[Key, ...]:
    """The keys of a JWK set that can be used here.

    Raises ValueError when it is none, or when none of its keys serves.
    """
    found = read_object(data).get("keys")
    if not isinstance(found, list):
        raise ValueError("no JWK set")
    keys = tuple(key for each in found[:MOST_KEYS] if (key := _public(each)) is not None)
    if not keys:
        raise ValueError("no key in it can be used")
    return keys


def _public(jwk: object) -> Key | None:
    """A key of a set; None for one that is of no use here (RFC 7517, 5: it is passed over)."""
    if not isinstance(jwk, dict):
        return None
    kind, kid = jwk.get("kty"), jwk.get("kid")
    curve = None if kind == "RSA" else jwk.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return None
    algorithm, members = MEMBERS.get((kind, curve), ("", ()))
    if not algorithm or jwk.get("alg", algorithm) != algorithm or not _for_signatures(jwk):
        return None
    if kid is not None and not (isinstance(kid, str) and len(kid) <= KID_CHARACTERS):
        return None
    try:
        material = ALGORITHMS[algorithm].from_jwk({name: jwk[name] for name in members})
    except (PyJWTError, KeyError, TypeError, ValueError, AttributeError):
        return None  # whatever the library makes of odd members
    if algorithm == "RS256" and not LEAST_RSA_BITS <= material.key_size <= MOST_RSA_BITS:
        return None
    return Key(algorithm, kid, material)


def _for_signatures(jwk: Mapping[str, object]) -> bool:
    """RFC 7517, 4.2 and 4.3."""
    operations = jwk.get("key_ops")
    named = operations is None or (isinstance(operations, list) and "verify" in operations)
    return jwk.get("use", "sig") == "sig" and named


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object, no name in it twice (RFC 7519, 4). Raises ValueError."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands twice")
    return table


def _refuse(constant: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def decoded(text: bytes) -> bytes:
    """Base64url without padding, in its one canonical form (RFC 7515, 2). Raises ValueError."""
    data = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    if encoded(data) != text:
        raise ValueError("not canonical")
    return data


def encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def sign(claims: Mapping[str, object], key: Key) -> str:
    """A token in compact form; only a shared key can sign."""
    parts = ({"alg": key.algorithm, "typ": "JWT"}, claims)
    message = b".".join(encoded(json.dumps(p, separators=(",", ":")).encode()) for p in parts)
    signature = ALGORITHMS[key.algorithm].sign(message, key.material)
    return (message + b"." + encoded(signature)).decode()
