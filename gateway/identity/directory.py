"""Users as their administrator keeps them: added, listed, disabled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from gateway.config.tokens import SCOPE
from gateway.identity.passwords import hashed
from gateway.identity.sessions import NAME, account
from gateway.stores.users import User, Users

TIER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
LEAST_PASSWORD: Final = 8  # characters: NIST SP 800-63B, 5.1.1.2
MOST_PASSWORD: Final = 1024
COLUMNS: Final = ("NAME", "SCOPES", "TIER", "CREATED", "DISABLED")


async def add(
    users: Users,
    name: str,
    password: str,
    *,
    scopes: Sequence[str],
    tier: str,
    clock: Callable[[], float],
) -> str:
    """The name under which the user signs in.

    Raises ValueError with what is wrong with one of them, never with the password itself.
    """
    name = account(name)
    if not NAME.fullmatch(name):
        raise ValueError("a name is 1 to 128 letters, digits and ._@+-, and begins with no sign")
    for scope in scopes:
        if not SCOPE.fullmatch(scope):
            raise ValueError("a scope is visible ASCII without space, quote and backslash")
    if not TIER.fullmatch(tier):
        raise ValueError("a tier is 1 to 64 letters, digits, dots, hyphens or underscores")
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ValueError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
    if not password.isprintable():
        raise ValueError("a password is text that can be printed")
    user = User(name, hashed(password), tuple(dict.fromkeys(scopes)), tier, int(clock() * 1000))
    if not await users.add(user):
        raise ValueError(f"there is a user {name} already")
    return name


async def rows(users: Users) -> Iterator[tuple[str, ...]]:
    """All users, as `COLUMNS` has them."""
    return (
        (
            user.name,
            " ".join(user.scopes) or "-",
            user.tier,
            _moment(user.created_at),
            "-" if user.disabled_at is None else _moment(user.disabled_at),
        )
        for user in await users.all()
    )


async def disable(users: Users, name: str, clock: Callable[[], float]) -> str:
    """The name of whom is let in no more. Raises ValueError when there is no such user."""
    name = account(name)
    if not NAME.fullmatch(name) or not await users.disable(name, int(clock() * 1000)):
        raise ValueError("there is no such user")
    return name


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
