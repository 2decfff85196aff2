from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.identity import jose
from gateway.identity.verify import FixedKeys, Issuer, Refused, UnknownKey, Verifier
from tests.identity.minting import (
    AUDIENCE,
    GOOD,
    ISSUER,
    NOW,
    SECRET,
    b64,
    compact,
    ec_key,
    hmac_with,
    jwk,
    jwks,
    pem,
    private,
    rsa_key,
    signer,
    token,
)

ALL = ("HS256", "RS256", "ES256", "EdDSA")
HEADER = {"alg": "RS256", "typ": "JWT", "kid": "1"}


class Named:
    """Keys by name, as a set has them, and how often newer ones were asked for."""

    def __init__(self, *keys: jose.Key) -> None:
        self.keys = keys

    def find(self, kid: str | None, algorithm: str) -> list[jose.Key]:
        return [k for k in self.keys if k.algorithm == algorithm and kid in (None, k.kid)]

    async def renew(self) -> None: ...


def public(*algorithms: str) -> Named:
    return Named(*jose.read_set(jwks(*(jwk(a, kid="1") for a in algorithms))))


def verifier(algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA"), **more: Any) -> Verifier:
    return Verifier(
        [
            Issuer(
                ISSUER,
                algorithms,
                public("RS256", "ES256", "EdDSA"),
                **{"audiences": frozenset({AUDIENCE}), **more},
            )
        ]
    )


def with_secret(secret: bytes = SECRET, **more: Any) -> Verifier:
    keys = FixedKeys((jose.shared(secret),))
    return Verifier([Issuer(ISSUER, ("HS256",), keys, frozenset({AUDIENCE}), **more)])


def refusal(token: bytes, of: Verifier | None = None, now: float = NOW) -> str:
    with pytest.raises(Refused) as caught:
        (of or verifier()).verify(token, now)
    return caught.value.reason


@pytest.mark.parametrize("algorithm", ALL)
def test_token_of_each_algorithm_names_its_subject_until_it_expires(algorithm: str) -> None:
    of = with_secret() if algorithm == "HS256" else verifier()
    verified = of.verify(token(algorithm), NOW)
    assert (verified.principal.kind, verified.principal.id) == ("jwt", "ann")
    assert (verified.principal.owner, verified.principal.claims) == (ISSUER, GOOD)
    assert verified.until == GOOD["exp"]


@pytest.mark.parametrize("algorithm", ALL)
def test_algorithm_that_is_not_on_the_list_is_refused_though_its_key_is_there(
    algorithm: str,
) -> None:
    others = tuple(other for other in ALL if other != algorithm)
    assert refusal(token(algorithm), verifier(others)) in ("algorithm", "unknown_key")


def stripped(made: bytes) -> bytes:
    return made.rpartition(b".")[0] + b"."


def resigned(header: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> bytes:
    return compact(header, GOOD, sign)


def der(message: bytes) -> bytes:
    return ec_key().sign(message, ec.ECDSA(SHA256()))


def rsa_with(algorithm: str) -> Callable[[bytes], bytes]:
    return signer(algorithm, rsa_key())


def swapped(made: bytes, **claims: object) -> bytes:
    """Another payload under a good signature."""
    head, _, signature = made.split(b".")
    return b".".join((head, b64(json.dumps(GOOD | claims).encode()), signature))


NOTHING: Callable[[bytes], bytes] = lambda message: b""  # noqa: E731
ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    **{
        f"no algorithm, written {alg!r}, with {name}": (
            lambda alg=alg, sign=sign: resigned({"alg": alg, "kid": "1"}, sign),  # type: ignore[misc]
            reason,
        )
        for alg in ("none", "None", "NONE", "nOnE", "none ", "")
        for name, sign, reason in (
            ("no signature", NOTHING, "malformed"),
            ("some signature", lambda message: b"x" * 32, "algorithm"),
            ("a good signature", signer("RS256"), "algorithm"),
        )
    },
    "no alg at all": (lambda: resigned({"kid": "1"}, signer("RS256")), "algorithm"),
    "alg is no text": (lambda: resigned({"alg": ["RS256"]}, signer("RS256")), "algorithm"),
    "alg in another case": (lambda: resigned({"alg": "rs256"}, signer("RS256")), "algorithm"),
    "alg nobody listed": (lambda: resigned({"alg": "RS512"}, rsa_with("RS512")), "algorithm"),
    "PSS for PKCS#1": (lambda: resigned({"alg": "PS256"}, rsa_with("PS256")), "algorithm"),
    "PSS signature called RS256": (lambda: resigned(HEADER, rsa_with("PS256")), "signature"),
    "signature stripped": (lambda: stripped(token()), "malformed"),
    "signature and dot stripped": (lambda: stripped(token())[:-1], "malformed"),
    "signature cut short": (lambda: token()[:-2], "signature"),
    "signature of another payload": (lambda: swapped(token(), sub="root"), "signature"),
    "signature of zeros": (lambda: resigned(HEADER, lambda m: bytes(256)), "signature"),
    "curve signature of zeros": (
        lambda: resigned({"alg": "ES256", "kid": "1"}, lambda m: bytes(64)),
        "signature",
    ),
    "curve signature in DER": (lambda: resigned({"alg": "ES256", "kid": "1"}, der), "signature"),
    "curve signature of 1 and 1 in DER": (
        lambda: resigned({"alg": "ES256", "kid": "1"}, lambda m: encode_dss_signature(1, 1)),
        "signature",
    ),
    "another curve's signature": (
        lambda: resigned(
            {"alg": "ES256", "kid": "1"}, signer("ES384", ec_key(ec.SECP384R1))
        ),
        "signature",
    ),
    "RSA signature called ES256": (
        lambda: resigned({"alg": "ES256", "kid": "1"}, signer("RS256")),
        "signature",
    ),
    "ES256 signature called EdDSA": (
        lambda: resigned({"alg": "EdDSA", "kid": "1"}, signer("ES256")),
        "signature",
    ),
    "HMAC with the public key in PEM": (
        lambda: resigned({"alg": "HS256", "kid": "1"}, hmac_with(pem("RS256"))),
        "algorithm",
    ),
    "HMAC with the public key, called RS256": (
        lambda: resigned(HEADER, hmac_with(pem("RS256"))),
        "signature",
    ),
    "key of a stranger": (lambda: resigned(HEADER, signer("RS256", rsa_key(2056))), "signature"),
    "key of a stranger, brought along": (
        lambda: resigned(HEADER | {"jwk": jwk("RS256")}, signer("RS256", rsa_key(2056))),
        "signature",
    ),
    "key of a stranger, by address": (
        lambda: resigned(
            HEADER | {"jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/cert"},
            signer("RS256", rsa_key(2056)),
        ),
        "signature",
    ),
    **{
        f"kid {kid!r}": (lambda kid=kid: token(kid=kid), "unknown_key")  # type: ignore[misc]
        for kid in ("2", "", "../../../../dev/null", "1' OR '1'='1", "1\0", "/etc/passwd", " 1")
    },
    "kid is no text": (lambda: resigned(HEADER | {"kid": 1}, signer("RS256")), "malformed"),
    "kid is null": (lambda: resigned(HEADER | {"kid": {}}, signer("RS256")), "malformed"),
    "kid is huge": (lambda: token(kid="1" * 257), "malformed"),
    "crit of what nobody knows": (
        lambda: resigned(HEADER | {"crit": ["exp"], "exp": 1}, signer("RS256")),
        "malformed",
    ),
    "crit is empty": (lambda: resigned(HEADER | {"crit": []}, signer("RS256")), "malformed"),
    "payload not encoded": (
        lambda: resigned(HEADER | {"b64": False, "crit": ["b64"]}, signer("RS256")),
        "malformed",
    ),
    "b64 without crit": (lambda: resigned(HEADER | {"b64": False}, signer("RS256")), "malformed"),
    "type of another token": (
        lambda: resigned(HEADER | {"typ": "logout+jwt"}, signer("RS256")),
        "malformed",
    ),
    "type is no text": (lambda: resigned(HEADER | {"typ": 1}, signer("RS256")), "malformed"),
    "alg twice": (
        lambda: compact(b'{"alg":"none","kid":"1","alg":"RS256"}', GOOD, signer("RS256")),
        "malformed",
    ),
    "claim twice": (
        lambda: compact(
            HEADER, json.dumps(GOOD)[:-1].encode() + b',"sub":"root"}', signer("RS256")
        ),
        "malformed",
    ),
    "name twice, deep inside": (
        lambda: compact(
            HEADER, json.dumps(GOOD)[:-1].encode() + b',"a":{"b":1,"b":2}}', signer("RS256")
        ),
        "malformed",
    ),
    "header in UTF-16": (
        lambda: compact(json.dumps(HEADER).encode("utf-16"), GOOD, signer("RS256")),
        "malformed",
    ),
    "header with a byte order mark": (
        lambda: compact(json.dumps(HEADER).encode("utf-8-sig"), GOOD, signer("RS256")),
        "malformed",
    ),
    "header is a list": (lambda: compact(b"[]", GOOD, signer("RS256")), "malformed"),
    "payload is a list": (lambda: compact(HEADER, b"[]", signer("RS256")), "malformed"),
    "payload is no JSON": (lambda: compact(HEADER, b"{'a'}", signer("RS256")), "malformed"),
    "payload has NaN": (
        lambda: compact(HEADER, b'{"exp":NaN}', signer("RS256")),
        "malformed",
    ),
    "payload is nested": (
        lambda: compact(HEADER, b'{"a":' * 900 + b"1" + b"}" * 900, signer("RS256")),
        "issuer",
    ),
    "payload is nested beyond all depth": (
        lambda: compact(HEADER, b"[" * 5500, signer("RS256")),
        "malformed",
    ),
    "payload has a number of 5000 digits": (
        lambda: compact(HEADER, b'{"exp":' + b"9" * 5000 + b"}", signer("RS256")),
        "malformed",
    ),
    "huge": (lambda: token(blob="x" * 8192), "malformed"),
    "huge header": (lambda: resigned(HEADER | {"x": "y" * 8192}, signer("RS256")), "malformed"),
    "padded": (lambda: token() + b"==", "malformed"),
    "not canonical": (lambda: not_canonical(token("EdDSA")), "malformed"),
    "standard base64": (lambda: b"+" + token()[1:], "malformed"),
    "space inside": (lambda: token().replace(b".", b". ", 1), "malformed"),
    "line end behind": (lambda: token() + b"\n", "malformed"),
    "two parts": (lambda: b"e30.e30", "malformed"),
    "five parts, encrypted": (lambda: b"e30.e30.e30.e30.e30", "malformed"),
    "impossible length of a part": (lambda: b"e30.e30.a", "malformed"),
    "empty": (lambda: b"", "malformed"),
    "dots": (lambda: b"..", "malformed"),
    "no ASCII": (lambda: "é.é.é".encode(), "malformed"),
}  # fmt: skip


def not_canonical(made: bytes) -> bytes:
    """The same signature in other letters: its last one has bits to spare."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return made[:-1] + alphabet[alphabet.index(made[-1:]) + 1 :][:1]


@pytest.mark.parametrize(("made", "reason"), ATTACKS.values(), ids=ATTACKS)
def test_attack_is_refused(made: Callable[[], bytes], reason: str) -> None:
    assert refusal(made()) == reason


@pytest.mark.parametrize("data", [pem("RS256"), pem("ES256"), b'{"kty":"oct","k":"AA"}', b""])
def test_secret_that_is_another_kind_of_key_is_no_secret(data: bytes) -> None:
    with pytest.raises(ValueError, match="another kind"):
        jose.shared(data)


CLAIMS: dict[str, tuple[dict[str, object], str]] = {
    "no end": ({"exp": None}, "claims"),
    "end is no number": ({"exp": str(NOW + 9)}, "claims"),
    "end is true": ({"exp": True}, "claims"),
    "end at infinity": ({"exp": 10**30}, "claims"),
    "begin is no number": ({"nbf": "now"}, "claims"),
    "ends now": ({"exp": NOW}, "expired"),
    "ended": ({"exp": NOW - 1}, "expired"),
    "ended before time began": ({"exp": -1}, "expired"),
    "begins later": ({"nbf": NOW + 1}, "not_yet_valid"),
    "no issuer": ({"iss": None}, "issuer"),
    "another issuer": ({"iss": ISSUER + "/"}, "issuer"),
    "issuer in a list": ({"iss": [ISSUER]}, "issuer"),
    "no audience": ({"aud": None}, "audience"),
    "another audience": ({"aud": "https://other.example"}, "audience"),
    "other audiences": ({"aud": ["a", "b"]}, "audience"),
    "no audience in the list": ({"aud": []}, "audience"),
    "audience is an object": ({"aud": {AUDIENCE: 1}}, "audience"),
    "no subject": ({"sub": None}, "claims"),
    "empty subject": ({"sub": ""}, "claims"),
    "subject is a number": ({"sub": 7}, "claims"),
    "subject has a line end": ({"sub": "ann\r\nX-Admin: 1"}, "claims"),
    "subject has half a character": ({"sub": "\ud800"}, "claims"),
    "subject is long": ({"sub": "a" * 257}, "claims"),
}


@pytest.mark.parametrize(("claims", "reason"), CLAIMS.values(), ids=CLAIMS)
def test_claims_that_do_not_do_are_refused(claims: dict[str, object], reason: str) -> None:
    assert refusal(token("EdDSA", **claims)) == reason


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW + 0.5},
        {"nbf": NOW},
        {"aud": ["other", AUDIENCE]},
        {"sub": "a" * 256},
        {"sub": "Zoë Ångström"},
        {"iat": NOW + 9},
    ],
)
def test_claims_at_their_edges_are_good(claims: dict[str, object]) -> None:
    assert verifier().verify(token("EdDSA", **claims), NOW).principal.kind == "jwt"


def test_leeway_is_given_on_both_sides_and_no_longer() -> None:
    of = verifier(leeway=30)
    late, early = token("EdDSA", exp=NOW - 29), token("EdDSA", nbf=NOW + 30)
    assert of.verify(late, NOW).until == NOW + 1
    of.verify(early, NOW)
    assert refusal(late, of, NOW + 1) == "expired"
    assert refusal(early, of, NOW - 1) == "not_yet_valid"


def test_without_an_audience_of_ours_a_token_that_names_one_is_not_for_us() -> None:
    of = verifier(audiences=frozenset())
    of.verify(token("EdDSA", aud=None), NOW)
    assert refusal(token("EdDSA"), of) == "audience"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_types_of_access_tokens_pass(kind: str) -> None:
    made = resigned(HEADER | {"typ": kind}, signer("RS256"))
    assert verifier().verify(made, NOW).principal.id == "ann"


def test_key_that_is_not_in_the_set_says_who_may_have_it() -> None:
    of = verifier()
    with pytest.raises(UnknownKey) as caught:
        of.verify(token(kid="2"), NOW)
    assert len(caught.value.sources) == 1


def test_token_without_kid_is_tried_with_few_keys_only() -> None:
    tried: list[str] = []

    class Counting(Named):
        def find(self, kid: str | None, algorithm: str) -> list[jose.Key]:
            tried.append(algorithm)
            return [jose.read_set(jwks(jwk("ES256")))[0]] * 4 + [key]

    key = jose.read_set(jwks(jwk("RS256")))[0]
    of = Verifier([Issuer(ISSUER, ("ES256", "RS256"), Counting(), frozenset({AUDIENCE}))])
    assert refusal(resigned({"alg": "ES256"}, signer("RS256")), of) == "signature"
    assert tried == ["ES256"]


def test_token_is_its_issuers_by_its_key_and_not_by_what_it_says() -> None:
    ours, theirs = b"one secret of thirty-two bytes...", b"and another, of as many bytes...."
    of = Verifier(
        [
            Issuer("us", ("HS256",), FixedKeys((jose.shared(ours),))),
            Issuer("them", ("HS256",), FixedKeys((jose.shared(theirs),))),
        ]
    )
    claims = {"sub": "ann", "exp": NOW + 9}
    header = {"alg": "HS256"}

    def made(issuer: str, secret: bytes) -> bytes:
        return compact(header, claims | {"iss": issuer}, hmac_with(secret))

    assert of.verify(made("us", ours), NOW).principal.owner == "us"
    assert of.verify(made("them", theirs), NOW).principal.owner == "them"
    assert refusal(made("us", theirs), of) == "issuer"
    assert refusal(made("them", ours), of) == "issuer"
    assert refusal(made("us", b"neither"), of) == "signature"


async def test_fixed_keys_have_no_newer_ones() -> None:
    keys = FixedKeys((jose.shared(SECRET),))
    await keys.renew()
    assert keys.find("any", "HS256") == [*keys.keys]
    assert keys.find("any", "RS256") == []


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, set()),
        ({"scope": "a b"}, {"a", "b"}),
        ({"scope": ""}, set()),
        ({"scp": ["a", "b c", 7]}, {"a", "b c"}),
        ({"scp": "a  b"}, {"a", "b"}),
        ({"scopes": ["a"], "scope": "b"}, {"a", "b"}),
        ({"scope": {"a": 1}}, set()),
    ],
)
def test_scopes_are_found_under_their_three_names(
    claims: dict[str, object], scopes: set[str]
) -> None:
    assert verifier().verify(token("EdDSA", **claims), NOW).principal.scopes == scopes


@pytest.mark.parametrize(
    ("tier", "found"),
    [
        ("pro", "pro"),
        (None, "free"),
        (7, "free"),
        ("", "free"),
        ("a\nb", "free"),
        ("a" * 65, "free"),
    ],
)
def test_tier_is_a_plain_name_or_free(tier: object, found: str) -> None:
    assert verifier().verify(token("EdDSA", tier=tier), NOW).principal.tier == found


def test_token_that_was_signed_here_is_good_here() -> None:
    key = jose.shared(SECRET)
    made = jose.sign(GOOD, key)
    assert with_secret().verify(made.encode(), NOW).principal.id == "ann"


def test_keys_do_not_show_what_they_are_made_of() -> None:
    assert SECRET.decode() not in repr(jose.shared(SECRET))
    assert private("HS256") == SECRET


def test_subject_that_was_barred_is_let_in_no_more() -> None:
    barred: set[str] = set()
    of = with_secret(barred=barred)
    of.verify(token("HS256"), NOW)
    barred.add("ann")
    assert refusal(token("HS256"), of) == "disabled"
