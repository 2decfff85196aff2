from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.identity import jose
from tests.identity.minting import SECRET, b64, ec_key, jwk, jwks, private, rsa_key, signer


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_public_key_of_a_set_serves_the_one_algorithm_of_its_type(algorithm: str) -> None:
    (key,) = jose.read_set(jwks(jwk(algorithm, kid="k", use="sig", alg=algorithm)))
    assert (key.algorithm, key.kid) == (algorithm, "k")
    assert key.verifies(b"message", signer(algorithm)(b"message"))
    assert not key.verifies(b"massage", signer(algorithm)(b"message"))


def small() -> Mapping[str, Any]:
    return RSAAlgorithm.to_jwk(rsa_key(1024).public_key(), as_dict=True)


def of_curve(curve: type[ec.EllipticCurve]) -> Mapping[str, Any]:
    return ECAlgorithm.to_jwk(ec_key(curve).public_key(), as_dict=True)


def ed448_key() -> Mapping[str, Any]:
    return OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True)


USELESS: dict[str, Callable[[], object]] = {
    "no object": lambda: "key",
    "null": lambda: None,
    "no type": lambda: {"kid": "1"},
    "type is a list": lambda: {"kty": ["RSA"]},
    "curve is a list": lambda: {"kty": "EC", "crv": ["P-256"]},
    "a shared secret": lambda: {"kty": "oct", "k": b64(SECRET).decode()},
    "a shared secret that says RS256": lambda: {"kty": "oct", "k": "AAAA", "alg": "RS256"},
    "for encryption": lambda: jwk("RS256", use="enc"),
    "not for verifying": lambda: jwk("RS256", key_ops=["sign"]),
    "operations are no list": lambda: jwk("RS256", key_ops="verify"),
    "of another algorithm": lambda: jwk("RS256", alg="PS256"),
    "of an algorithm that is not its type's": lambda: jwk("RS256", alg="HS256"),
    "of an algorithm that is none": lambda: jwk("RS256", alg=None),
    "kid is a number": lambda: jwk("RS256", kid=1),
    "kid is long": lambda: jwk("RS256", kid="1" * 257),
    "too small": small,
    "another curve": lambda: of_curve(ec.SECP384R1),
    "a curve of coins": lambda: of_curve(ec.SECP256K1),
    "another Edwards curve": ed448_key,
    "a point that is not on its curve": lambda: jwk("ES256", x=b64(bytes(32)).decode()),
    "a point cut short": lambda: jwk("ES256", x="AAAA"),
    "a member missing": lambda: {"kty": "RSA", "e": "AQAB"},
    "a member that is no text": lambda: jwk("RS256", n=7),
    "a member that is no base64": lambda: jwk("EdDSA", x="é"),
    "an exponent of one": lambda: jwk("RS256", e="AQ"),
}


@pytest.mark.parametrize("made", USELESS.values(), ids=USELESS)
def test_key_that_cannot_be_used_is_passed_over(made: Callable[[], Any]) -> None:
    found = jose.read_set(jwks(made(), jwk("EdDSA", kid="good")))
    assert [key.kid for key in found] == ["good"]


def test_private_key_in_a_set_is_taken_for_its_public_half() -> None:
    whole = RSAAlgorithm.to_jwk(private("RS256"), as_dict=True)
    (key,) = jose.read_set(jwks({**whole, "key_ops": ["verify"]}))
    assert not hasattr(key.material, "private_numbers")
    assert key.verifies(b"message", signer("RS256")(b"message"))


def test_set_is_read_to_its_bound() -> None:
    found = jose.read_set(jwks(*[jwk("EdDSA", kid=str(n)) for n in range(jose.MOST_KEYS + 1)]))
    assert len(found) == jose.MOST_KEYS


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[1]}', b"<html>", b"\xff",
     b'{"keys":[],"keys":[]}', b'{"keys":' + b"[" * 200_000],
)  # fmt: skip
def test_what_is_no_set_of_usable_keys_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        jose.read_set(data)


def test_key_whose_modulus_is_even_verifies_nothing() -> None:
    (key,) = jose.read_set(jwks(jwk("RS256", n=b64(b"\xff" * 255 + b"\xfe").decode())))
    assert not key.verifies(b"message", signer("RS256")(b"message"))
