"""API keys in a database, one suite for both."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.stores import Database
from gateway.stores.keys import AT_ONCE, NOTED_AT_ONCE, ApiKey, Keys
from tests.databases import opened

NOW = 1_800_000_000_000
HOUR = 3_600_000
SQL = "x'; DROP TABLE gateway_api_keys; --"
ONE = ApiKey("key_1", "aa", "ann", "pro", ("read", "write"), NOW, NOW + HOUR)


def named(number: int) -> ApiKey:
    return ApiKey(f"key_{number}", f"{number:064x}", "ann", "free", (), NOW)


def bare(keys: list[ApiKey]) -> list[ApiKey]:
    """Without their revisions."""
    return [replace(key, revision=0) for key in keys]


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


async def test_key_is_found_as_it_was_added(keys: Keys) -> None:
    await keys.add(ONE)
    found = await keys.find(["aa"])
    assert bare(list(found.values())) == [ONE]
    assert await keys.named("key_1") == found["aa"]


@pytest.mark.parametrize("text", [SQL, "", "key_1' OR '1'='1", "%"])
async def test_what_is_not_there_is_not_found_whatever_it_is_called(keys: Keys, text: str) -> None:
    await keys.add(ONE)
    assert await keys.find([text]) == {}
    assert await keys.named(text) is None
    assert not await keys.revoke(text, NOW)
    assert not await keys.replace(text, named(2), NOW)
    assert bare(await keys.all()) == [ONE]


async def test_whatever_an_owner_is_called_is_kept_as_it_is(keys: Keys) -> None:
    await keys.add(replace(ONE, owner=SQL, tier=SQL))
    (found,) = await keys.all()
    assert (found.owner, found.tier) == (SQL, SQL)


@pytest.mark.parametrize("count", [1, 2, 8, 9, AT_ONCE])
async def test_many_are_looked_up_at_once(keys: Keys, count: int) -> None:
    for number in range(3):
        await keys.add(named(number))
    found = await keys.find([f"{number:064x}" for number in range(count)])
    assert sorted(found) == [f"{number:064x}" for number in range(min(count, 3))]


async def test_keys_are_listed_oldest_first(keys: Keys) -> None:
    for number, when in ((1, 3), (2, 1), (3, 2)):
        await keys.add(replace(named(number), created_at=when))
    assert [key.id for key in await keys.all()] == ["key_2", "key_3", "key_1"]


async def test_revoked_key_stays_revoked_since_the_first_time(keys: Keys) -> None:
    await keys.add(ONE)
    assert await keys.revoke("key_1", NOW + 1)
    assert await keys.revoke("key_1", NOW + 2)
    (found,) = await keys.all()
    assert found.revoked_at == NOW + 1
    assert found.state(NOW) == "revoked"


async def test_key_is_active_until_it_expires() -> None:
    assert ONE.state(NOW + HOUR - 1) == "active"
    assert ONE.state(NOW + HOUR) == "expired"
    assert replace(ONE, expires_at=None).state(NOW * 2) == "active"


@pytest.mark.parametrize(
    ("expires", "until", "then"),
    [(None, NOW + 5, NOW + 5), (NOW + 3, NOW + 5, NOW + 3), (NOW + HOUR, NOW, NOW)],
)
async def test_rotated_key_lives_on_until_then_but_no_longer_than_it_would_have(
    keys: Keys, expires: int | None, until: int, then: int
) -> None:
    await keys.add(replace(ONE, expires_at=expires))
    assert await keys.replace("key_1", named(2), until)
    old, new = await keys.all()
    assert (old.expires_at, old.successor) == (then, "key_2")
    assert bare([new]) == [named(2)]


async def test_key_that_is_not_good_is_not_rotated(keys: Keys) -> None:
    await keys.add(replace(ONE, expires_at=NOW))
    await keys.add(named(2))
    await keys.revoke("key_2", NOW)
    assert not await keys.replace("key_1", named(3), NOW + HOUR)
    assert not await keys.replace("key_2", named(3), NOW + HOUR)
    assert await keys.named("key_3") is None


async def test_of_two_who_rotate_a_key_one_wins(keys: Keys, stores: dict[str, str]) -> None:
    await keys.add(ONE)
    other = opened(stores)
    done = await asyncio.gather(
        keys.replace("key_1", named(2), NOW), Keys(other).replace("key_1", named(3), NOW)
    )
    await other.close()
    assert sorted(done) == [False, True]
    assert len(await keys.all()) == 2


# -------------------------------------------------------------------------------------- changes


async def test_changes_are_told_once(keys: Keys) -> None:
    assert await keys.newest() == 0
    assert await keys.changed(0) == (0, [])
    await keys.add(named(1))
    await keys.add(named(2))
    revision, hashes = await keys.changed(0) or (0, [])
    assert hashes == [named(1).hash, named(2).hash]
    assert await keys.newest() == revision
    assert await keys.changed(revision) == (revision, [])
    await keys.revoke("key_1", NOW)
    await keys.revoke("key_1", NOW)
    assert await keys.changed(revision) == (revision + 2, [named(1).hash])


async def test_rotation_changes_both_keys(keys: Keys) -> None:
    await keys.add(ONE)
    before = await keys.newest()
    await keys.replace("key_1", named(2), NOW)
    assert await keys.changed(before) == (before + 1, ["aa", named(2).hash])


async def test_database_that_is_an_older_copy_is_noticed(keys: Keys, database: Database) -> None:
    await keys.add(ONE)
    seen = await keys.newest()
    await database.execute("DELETE FROM gateway_api_keys")
    assert await keys.changed(seen) is None


async def test_change_is_seen_however_many_change_keys_at_once(
    keys: Keys, stores: dict[str, str]
) -> None:
    numbers = range(40)
    for number in numbers:
        await keys.add(named(number))
    others = [opened(stores) for _ in range(4)]
    seen: set[str] = set()
    revision = await keys.newest()
    done = asyncio.Event()

    async def look() -> None:
        nonlocal revision
        while True:
            ended = done.is_set()
            changed = await keys.changed(revision)
            assert changed is not None
            revision, hashes = changed
            seen.update(hashes)
            if ended:
                return

    looking = asyncio.create_task(look())
    await asyncio.gather(*(Keys(others[n % 4]).revoke(f"key_{n}", NOW) for n in numbers))
    done.set()
    await looking
    assert seen == {named(number).hash for number in numbers}
    revisions = [key.revision for key in await keys.all()]
    assert len(set(revisions)) == len(revisions)
    for other in others:
        await other.close()


# ------------------------------------------------------------------------------------------ use


async def test_use_is_noted_and_is_no_change(keys: Keys) -> None:
    await keys.add(ONE)
    await keys.add(named(2))
    before = await keys.newest()
    await keys.used({"key_1": NOW + 5, "key_9": NOW})
    await keys.used({"key_1": NOW + 3})
    assert [key.last_used_at for key in await keys.all()] == [NOW + 5, None]
    assert await keys.newest() == before


async def test_use_of_many_is_noted_in_parts(keys: Keys, stores: dict[str, str]) -> None:
    count = 2 * NOTED_AT_ONCE + 1
    for number in range(count):
        await keys.add(named(number))
    other = opened(stores)
    both = {f"key_{number}": NOW + number for number in range(count)}
    await asyncio.gather(keys.used(both), Keys(other).used(both))
    await other.close()
    assert {key.id: key.last_used_at for key in await keys.all()} == both
