from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, extract_parameters

from gateway.identity import passwords as module
from gateway.identity.passwords import LINE, Busy, Passwords, dummy, hashed

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Slow(PasswordHasher):
    """Takes until it is let go; says who comes."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.seen: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002
        self.seen.append(str(hash))
        assert self.go.wait(10)
        return True


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(2, CHEAP)
    yield made
    made.close()


async def test_password_is_the_one_that_was_hashed_and_no_other(passwords: Passwords) -> None:
    stored = CHEAP.hash("sésame")
    assert await passwords.matches(stored, "sésame")
    assert not await passwords.matches(stored, "sesame")
    assert not await passwords.matches(stored, "sésame\0")


async def test_password_of_nobody_is_never_right(passwords: Passwords) -> None:
    assert not await passwords.matches(None, "")


async def test_hash_that_is_broken_is_nobodys(passwords: Passwords) -> None:
    assert not await passwords.matches("$argon2id$", "x")


def test_hash_to_be_kept_is_argon2id_at_full_cost() -> None:
    made = hashed("x")
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert made != hashed("x")


def test_what_nobodys_password_is_compared_with_costs_what_a_real_one_costs() -> None:
    real, fake = CHEAP.hash("x"), dummy(CHEAP)
    assert extract_parameters(real) == extract_parameters(fake)
    assert len(real) == len(fake)


async def test_work_for_nobodys_password_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    slow.go.set()
    passwords = Passwords(1, slow)
    assert not await passwords.matches(None, "x")
    assert len(slow.seen) == 1
    passwords.close()


async def test_more_than_may_wait_are_told_to_come_again() -> None:
    slow = Slow()
    passwords = Passwords(1, slow)
    most = 1 + LINE
    waiting = [asyncio.create_task(passwords.matches("h", "x")) for _ in range(most)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as caught:
        await passwords.matches("h", "x")
    assert (caught.value.status, caught.value.fields) == (503, (b"Retry-After: 1",))
    # One who leaves does not make room: the thread does not know.
    waiting[0].cancel()
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await passwords.matches("h", "x")
    slow.go.set()
    assert await asyncio.gather(*waiting[1:]) == [True] * (most - 1)
    assert await passwords.matches("h", "x")
    passwords.close()


def test_module_hashes_at_the_librarys_own_cost() -> None:
    assert module.PasswordHasher().memory_cost == 65536
