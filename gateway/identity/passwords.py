"""Passwords, kept as argon2id hashes (RFC 9106).

A hash takes 0.1 s of processor and 64 MiB of memory, on purpose. So a few threads make them, so
many may wait, and more are told to come again.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher, exceptions

from gateway.errors import GatewayError

LINE: Final = 8  # who may wait, for each thread: a second's work
T = TypeVar("T")


class Busy(GatewayError):
    """Too many passwords are being checked."""

    status, code, message = 503, "service_unavailable", "too many are signing in just now"
    blame = "client"

    def __init__(self) -> None:
        super().__init__(fields=(b"Retry-After: 1",))


class Passwords:
    """Makes and checks hashes, `at_once` of them at the same time."""

    def __init__(self, at_once: int, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._most = at_once * (1 + LINE)
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix="passwords")
        self._wanted = 0
        self._closed = False
        self._nobody = dummy(self._hasher)

    def close(self) -> None:
        """Let those who wait have their answers, and take no more."""
        self._closed = True
        self._executor.shutdown(wait=False)

    async def matches(self, stored: str | None, given: str) -> bool:
        """Whether the password is the one; None for nobody's takes as long. Raises `Busy`."""
        return await self._run(self._matches, stored, given)

    def _matches(self, stored: str | None, given: str) -> bool:
        try:
            self._hasher.verify(stored or self._nobody, given)
        except (exceptions.Argon2Error, exceptions.InvalidHashError):
            return False
        return stored is not None

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        if self._closed or self._wanted >= self._most:
            raise Busy
        self._wanted += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        future.add_done_callback(self._done)
        # A client that leaves does not free the thread: its place is free when the work is done.
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._wanted -= 1


def hashed(password: str) -> str:
    """To be kept. Takes its 0.1 s in the caller's thread."""
    return PasswordHasher().hash(password)


def dummy(hasher: PasswordHasher) -> str:
    """What looks like a hash, costs as much to check, and is nobody's."""
    salt, digest = (
        b64encode(os.urandom(size)).rstrip(b"=").decode()
        for size in (hasher.salt_len, hasher.hash_len)
    )
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"
