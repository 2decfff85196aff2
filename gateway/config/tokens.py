"""The settings of signed tokens: whose are accepted, and how users sign in for our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from annotated_types import Le
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from gateway.config import checks
from gateway.config.edges import switch
from gateway.config.kinds import (
    OptionalSecret,
    PositiveCount,
    PositiveSeconds,
    Seconds,
    Table,
    no_repeats,
)
from gateway.config.ratelimits import Rate
from gateway.http1.fields import PLAIN
from gateway.http1.request import kind_of
from gateway.units import Rate as RateValue

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
LONGEST_LEEWAY = 600  # s; more than that is no clock that is a little wrong
SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 section 3.3
OWN_ISSUER = "gateway"
"""Who signs the tokens of `/auth/login`: no other issuer may have that name."""


def _keys_url(value: str) -> str:
    """Where a key set is. It may hold a password, so no message says anything of it."""
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not value.isprintable():
        raise ValueError("expected a URL: https://issuer.example/.well-known/jwks.json")
    if parts.fragment or " " in value:
        raise ValueError("holds a fragment or a space, which is never sent")
    return value


def _claim_header(value: str) -> str:
    name = checks.field_name(value).lower().encode().replace(b"_", b"-")
    if name == b"*" or kind_of(name) != PLAIN or name.startswith(b"content-"):
        raise ValueError("is a header that HTTP or the gateway itself gives a meaning")
    return value


def _scope(value: str) -> str:
    if not SCOPE.fullmatch(value):
        raise ValueError("a scope is visible ASCII without space, quote and backslash")
    return value


def _different(value: Mapping[str, str]) -> Mapping[str, str]:
    names = [name.lower().replace("_", "-") for name in value.values()]
    if len(set(names)) < len(names):
        raise ValueError("names the same header twice")
    return value


def _several(value: object) -> object:
    """One, or a list of them."""
    return [value] if isinstance(value, str) else value


def _random(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    text = value.get_secret_value()
    # RFC 8725 section 2.1: a public key in an HMAC is how tokens are forged.
    if text.lstrip().startswith(("-----BEGIN", "ssh-", "{", "[")):
        raise ValueError("is a key of another kind: HS256 takes a random secret")
    checks.secret(text, "production")
    return value


Audiences = Annotated[tuple[str, ...], BeforeValidator(_several), AfterValidator(no_repeats)]
Scopes = Annotated[tuple[Annotated[str, AfterValidator(_scope)], ...], AfterValidator(no_repeats)]
Claims = Annotated[
    Mapping[str, Annotated[str, AfterValidator(_claim_header)]], AfterValidator(_different)
]


class Jwt(Table):
    """Whose tokens (JWT) are accepted by routes with `auth: jwt`."""

    issuer: str = Field(description="`iss` of its tokens, to the letter", min_length=1)
    audience: Audiences = Field(
        (), description="`aud` that they may have, one or several; if left out, none must be there"
    )
    algorithms: Annotated[
        tuple[Annotated[str, AfterValidator(checks.one_of(ALGORITHMS))], ...],
        AfterValidator(no_repeats),
        Field(min_length=1),
    ] = Field(("RS256",), description="of `HS256`, `RS256`, `ES256`, `EdDSA`; no other is accepted")
    secret: Annotated[OptionalSecret, AfterValidator(_random)] = Field(
        None, description="shared with the issuer, for HS256"
    )
    jwks_url: Annotated[str, AfterValidator(_keys_url)] | None = Field(
        None, description="URL of the issuer's public keys (JWK set), for the others"
    )
    leeway: Annotated[Seconds, Le(LONGEST_LEEWAY)] = Field(
        30, description="that the issuer's clock may be wrong, either way"
    )
    refresh: PositiveSeconds = Field(300, description="between two looks for newer keys")
    cooldown: PositiveSeconds = Field(
        30, description="between two looks because of tokens whose key is not known"
    )

    @field_validator("issuer")
    @classmethod
    def _anothers(cls, value: str) -> str:
        if value == OWN_ISSUER:
            raise ValueError("is the name under which the gateway signs its own tokens")
        return value

    @field_validator("secret")
    @classmethod
    def _shared(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        wanted = "HS256" in info.data.get("algorithms", ())
        if "algorithms" in info.data and wanted != (value is not None):
            raise ValueError(
                "is required for HS256" if wanted else "needs HS256 among the algorithms"
            )
        return value

    @field_validator("jwks_url")
    @classmethod
    def _public(cls, value: str | None, info: ValidationInfo) -> str | None:
        wanted = set(info.data.get("algorithms", ())) - {"HS256"}
        if "algorithms" in info.data and bool(wanted) != (value is not None):
            raise ValueError(
                f"is required for {', '.join(sorted(wanted))}"
                if wanted
                else "needs RS256, ES256 or EdDSA among the algorithms"
            )
        return value


class Login(Table):
    """Users of the gateway's own: `/auth/login`, `/auth/refresh`, `/auth/logout`."""

    access: PositiveSeconds = Field(900, description="for which an access token is good")
    refresh: PositiveSeconds = Field(
        2592000, description="for which a refresh token is good; each one is good once"
    )
    per_account: Rate = Field(
        RateValue(10, 60.0),
        validate_default=False,
        description="attempts to sign in as one user, from anywhere",
    )
    per_address: Rate = Field(
        RateValue(30, 60.0),
        validate_default=False,
        description="attempts from one address, as anybody (of IPv6 the /64)",
    )
    at_once: PositiveCount = Field(
        2, description="passwords that a worker checks at once, each in 64 MiB for 0.1 s"
    )


OptionalLogin = Annotated[Login | None, BeforeValidator(switch)]
