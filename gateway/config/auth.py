"""The settings of who may: the ways to find out who asks, and what a route wants of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.config.kinds import Table
from gateway.config.tokens import Jwt, OptionalLogin

LEAST_TOKEN = 16  # characters; a shorter one can be guessed

Way = Literal["none", "token", "api_key", "jwt", "any"]


def _one_text(value: object) -> object:
    """A list, too, is kept as a text with commas: a variable can hold no list."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return None if value == "" else value


def _strong(value: SecretStr | None) -> SecretStr | None:
    for text in tokens_in(value):
        if len(text) < LEAST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"expected {LEAST_TOKEN} visible ASCII characters or more")
    return value


def tokens_in(value: SecretStr | None) -> tuple[str, ...]:
    """The tokens, of which empty ones are none."""
    text = "" if value is None else value.get_secret_value()
    return tuple(stripped for part in text.split(",") if (stripped := part.strip()))


class Auth(Table):
    """How it is found out who asks."""

    token: Annotated[SecretStr | None, BeforeValidator(_one_text), AfterValidator(_strong)] = Field(
        None, description="bearer token of `auth: token`; several, with commas, for a rotation"
    )
    jwt: Jwt | None = Field(None, description="none but our own are accepted if left out")
    login: OptionalLogin = Field(
        None, description="`true`, or a table of how; nobody signs in here if left out"
    )

    @property
    def tokens(self) -> tuple[str, ...]:
        return tokens_in(self.token)

    def check(self, secret_key: SecretStr | None) -> None:
        """Raises ValueError where users could sign in for tokens that nothing signs."""
        if self.login is not None and secret_key is None:
            raise ValueError("login: needs secret_key, which signs the tokens")

    def lacks(self, way: Way, scopes: Sequence[str]) -> str | None:
        """What is missing for a route that wants this, if anything is."""
        if scopes and way in {"none", "token"}:
            return "has scopes, which only api_key and jwt (or any) can have"
        if way == "token" and not self.tokens:
            return "needs auth.token (or API_TOKEN)"
        if way == "jwt" and self.jwt is None and self.login is None:
            return "needs auth.jwt or auth.login"
        return None
