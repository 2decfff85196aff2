"""Signed tokens, as they are written: whose are accepted, what goes upstream, who signs in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.config.tokens import Claims, Jwt, Login, OptionalLogin, Scopes
from gateway.units import Rate

URL = "https://issuer.example/keys"
GOOD = {"issuer": "https://issuer.example", "audience": "api", "jwks_url": URL}


def flaws(table: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by key."""
    with pytest.raises(ValidationError) as caught:
        Jwt.model_validate(table)
    return {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}


def test_issuer_with_a_key_set_is_asked_for_rs256() -> None:
    table = Jwt.model_validate(GOOD)
    assert (table.algorithms, table.audience) == (("RS256",), ("api",))
    assert (table.leeway, table.refresh, table.cooldown) == (30, 300, 30)


def test_several_audiences_are_a_list() -> None:
    assert Jwt.model_validate({**GOOD, "audience": ["a", "b"]}).audience == ("a", "b")


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "no issuer": ({"issuer": ""}, "issuer", "at least 1 character"),
    "our own name": ({"issuer": "gateway"}, "issuer", "signs its own"),
    "no algorithm": ({"algorithms": []}, "algorithms", "at least 1 item"),
    "none": ({"algorithms": ["none"]}, "algorithms.0", "expected one of HS256, RS256"),
    "another case": ({"algorithms": ["rs256"]}, "algorithms.0", "expected one of"),
    "another one": ({"algorithms": ["RS256", "PS256"]}, "algorithms.1", "expected one of"),
    "one twice": ({"algorithms": ["RS256", "RS256"]}, "algorithms", "twice"),
    "an audience twice": ({"audience": ["a", "a"]}, "audience", "twice"),
    "no keys": ({"jwks_url": None}, "jwks_url", "required for RS256"),
    "no secret": ({"algorithms": ["HS256", "RS256"]}, "secret", "required for HS256"),
    "a secret that nothing takes": ({"secret": "x" * 32}, "secret", "needs HS256"),
    "keys that nothing takes": (
        {"algorithms": ["HS256"], "secret": "x" * 32},
        "jwks_url",
        "needs RS256",
    ),
    "a public key for a secret": (
        {"algorithms": ["HS256"], "secret": "\n-----BEGIN PUBLIC KEY-----", "jwks_url": None},
        "secret",
        "another kind",
    ),
    "a JWK for a secret": (
        {"algorithms": ["HS256"], "secret": '{"kty":"oct"}', "jwks_url": None},
        "secret",
        "another kind",
    ),
    "a short secret": (
        {"algorithms": ["HS256"], "secret": "x" * 31, "jwks_url": None},
        "secret",
        "at least 32 bytes",
    ),
    "a leeway without end": ({"leeway": "1h"}, "leeway", "less than or equal to 600"),
    **{
        f"the URL {url}": ({"jwks_url": url}, "jwks_url", "expected a URL")
        for url in ("issuer.example/keys", "file:///etc/passwd", "ftp://a/b", "https://", "https://a/\n")
    },
    "a fragment": ({"jwks_url": URL + "#x"}, "jwks_url", "never sent"),
    "a space": ({"jwks_url": URL + " x"}, "jwks_url", "never sent"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "key", "wrong"), BAD.values(), ids=BAD)
def test_what_would_not_be_safe_is_refused(change: dict[str, Any], key: str, wrong: str) -> None:
    found = flaws({**GOOD, **change})
    assert wrong in found[key]


def test_both_kinds_of_keys_may_be_there() -> None:
    table = Jwt.model_validate({**GOOD, "algorithms": ["HS256", "EdDSA"], "secret": "x" * 32})
    assert table.secret is not None
    assert "xxx" not in repr(table)


def test_flaw_of_the_algorithms_is_not_told_twice() -> None:
    assert set(flaws({**GOOD, "algorithms": ["x"], "jwks_url": None})) == {"algorithms.0"}


CLAIMS: TypeAdapter[Any] = TypeAdapter(Claims)


def test_claim_has_a_header_of_its_own() -> None:
    value = {"sub": "X-User-Id", "https://example.com/role": "X_Role"}
    assert CLAIMS.validate_python(value) == value


@pytest.mark.parametrize(
    "name",
    ["Host", "Connection", "Content-Length", "content_length", "Content-Type", "Transfer-Encoding",
     "X-Forwarded-For", "X_Forwarded_Any", "X-Request-ID", "Authorization", "Cookie", "If-Match",
     "traceparent", "TE", "*", "", "X User", "X:User", "X-Usér"],
)  # fmt: skip
def test_header_with_a_meaning_of_its_own_is_no_claims(name: str) -> None:
    with pytest.raises(ValidationError):
        CLAIMS.validate_python({"sub": name})


def test_two_claims_do_not_share_a_header() -> None:
    with pytest.raises(ValidationError, match="same header twice"):
        CLAIMS.validate_python({"sub": "X-User", "email": "x_user"})


LOGIN: TypeAdapter[Any] = TypeAdapter(OptionalLogin)


def test_login_is_a_switch_or_a_table() -> None:
    assert LOGIN.validate_python(False) is None
    assert LOGIN.validate_python(None) is None
    assert LOGIN.validate_python(True) == Login()
    made = LOGIN.validate_python({"access": "5m", "per_account": "5/minute"})
    assert (made.access, made.per_account) == (300, Rate(5, 60.0))
    assert (Login().access, Login().refresh) == (15 * 60, 30 * 86400)


SCOPES: TypeAdapter[Any] = TypeAdapter(Scopes)


def test_scope_is_visible_text_without_quotes() -> None:
    assert SCOPES.validate_python(["orders:read", "https://x/y"]) == ("orders:read", "https://x/y")
    for bad in ("", "a b", 'a"', "a\\b", "é", "a\n"):
        with pytest.raises(ValidationError, match="a scope is"):
            SCOPES.validate_python([bad])
