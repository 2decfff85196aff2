"""API keys as those who manage them see them: made, listed, rotated, revoked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from time import time
from typing import Final

from gateway import apikeys
from gateway.stores.keys import ApiKey, Keys

SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,128}")  # RFC 6749, 3.3
LONGEST_OWNER: Final = 128  # characters
MOST_SCOPES: Final = 64
ID: Final = re.compile(r"key_[0-9A-Za-z]{12}")


class NoSuchKeyError(LookupError):
    """There is no key of this id."""


class NotActiveError(Exception):
    """The key is revoked or expired, or was rotated before: that cannot be done with it."""


class Keyring:
    """Raises `StoreDown`."""

    def __init__(
        self,
        keys: Keys,
        *,
        clock: Callable[[], float] = time,
        choice: Callable[[str], str] = secrets.choice,
    ) -> None:
        """`clock` gives unix seconds, `choice` one of the letters that it is given."""
        self._keys = keys
        self._clock = clock
        self._choice = choice

    @property
    def now(self) -> int:
        """Unix milliseconds."""
        return int(self._clock() * 1000)

    async def create(
        self, owner: str, tier: str, scopes: Sequence[str], lifetime: float | None
    ) -> tuple[ApiKey, str]:
        """A new key, good for `lifetime` seconds, None for ever; it is told here and never again.

        Raises ValueError with what is wrong.
        """
        owned, scoped = owner_name(owner), scope_names(scopes)
        made, key = self._make(owned, tier, scoped, self._after(lifetime))
        await self._keys.add(made)
        return made, key

    async def all(self) -> list[ApiKey]:
        """Good or not, the newest last."""
        return await self._keys.all()

    async def rotate(
        self, name: str, grace: float, lifetime: float | None = None
    ) -> tuple[ApiKey, str]:
        """Another key with the same rights; the old one is good for `grace` seconds more.

        It expires when the old one would have, unless it gets a `lifetime`, in seconds, of its
        own. Raises `NoSuchKeyError`, and `NotActiveError`.
        """
        old = await self._named(name)
        until = old.expires_at if lifetime is None else self._after(lifetime)
        made, key = self._make(old.owner, old.tier, old.scopes, until)
        if not await self._keys.replace(name, made, made.created_at + round(grace * 1000)):
            state = (await self._named(name)).state(self.now)
            raise NotActiveError("was rotated already" if state == "active" else f"is {state}")
        return made, key

    async def revoke(self, name: str) -> None:
        """For good; a key that it was done to before stays as it is. Raises `NoSuchKeyError`."""
        if not ID.fullmatch(name) or not await self._keys.revoke(name, self.now):
            raise NoSuchKeyError

    async def _named(self, name: str) -> ApiKey:
        found = await self._keys.named(name) if ID.fullmatch(name) else None
        if found is None:
            raise NoSuchKeyError
        return found

    def _after(self, lifetime: float | None) -> int | None:
        return None if lifetime is None else self.now + round(lifetime * 1000)

    def _make(
        self, owner: str, tier: str, scopes: Sequence[str], until: int | None
    ) -> tuple[ApiKey, str]:
        key = apikeys.make(self._choice)
        name = "key_" + "".join(self._choice(apikeys.DIGITS) for _ in range(12))
        digest = apikeys.digest(key.encode())
        return ApiKey(name, digest, owner, tier, tuple(scopes), self.now, until), key


def owner_name(value: str) -> str:
    """Whom a key is for. Raises ValueError."""
    if not 0 < len(value) <= LONGEST_OWNER or not value.isprintable() or value != value.strip():
        raise ValueError(f"an owner is 1 to {LONGEST_OWNER} printable characters")
    return value


def scope_names(values: Sequence[str]) -> tuple[str, ...]:
    """Scopes, each once. Raises ValueError."""
    if len(values) > MOST_SCOPES:
        raise ValueError(f"at most {MOST_SCOPES} scopes")
    for value in values:
        if not SCOPE.fullmatch(value):
            raise ValueError("a scope is visible ASCII without space, quote and backslash")
    return tuple(dict.fromkeys(values))
