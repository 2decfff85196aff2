"""Tokens and key sets as an issuer makes them, and as an attacker does."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
SECRET = b"a secret of the tests, of 32 bytes and more"
GOOD = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": NOW + 600}

Signer = Callable[[bytes], bytes]


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def private(algorithm: str) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "HS256": lambda: SECRET,
        "RS256": rsa_key,
        "ES256": ec_key,
        "EdDSA": ed_key,
    }
    return makers[algorithm]()


def jwk(algorithm: str, **more: object) -> dict[str, Any]:
    """The public half as a JWK."""
    of = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
    made: dict[str, Any] = of.to_jwk(private(algorithm).public_key(), as_dict=True)
    return {name: value for name, value in {**made, **more}.items() if name != "key_ops"} | (
        {"key_ops": more["key_ops"]} if "key_ops" in more else {}
    )


def jwks(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def pem(algorithm: str) -> bytes:
    data: bytes = (
        private(algorithm)
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return data


def b64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def signer(algorithm: str, key: Any = None) -> Signer:
    made = get_default_algorithms()[algorithm]
    return lambda message: made.sign(message, private(algorithm) if key is None else key)


def hmac_with(key: bytes) -> Signer:
    return lambda message: hmac.digest(key, message, "sha256")


def compact(
    header: bytes | Mapping[str, Any], payload: bytes | Mapping[str, Any], sign: Signer
) -> bytes:
    """A token of any header and payload, given as objects or as their bytes."""
    parts = (p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, payload))
    message = b".".join(map(b64, parts))
    return message + b"." + b64(sign(message))


def token(algorithm: str = "RS256", kid: str | None = "1", **claims: object) -> bytes:
    """A good token but for what is said; None takes a claim away."""
    header = {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    made = {name: value for name, value in (GOOD | claims).items() if value is not None}
    return compact(header, made, signer(algorithm))
