"""Users and sessions, one suite for both databases."""

from __future__ import annotations

import asyncio

import pytest

from gateway.stores import Database
from gateway.stores.users import User, Users

NOW = 1_800_000_000_000
DAY = 86_400_000
ANN = User("ann", "$hash", ("read", "write"), "pro", NOW)
SQL = "x'; DROP TABLE gateway_users; --"


@pytest.fixture
async def users(database: Database) -> Users:
    return Users(database)


@pytest.fixture
async def session(users: Users) -> Users:
    """With a user, and a session that has its first token, `t1`."""
    await users.add(ANN)
    await users.begin("s", "ann", "t1", NOW, NOW + DAY)
    return users


async def rotated(users: Users, token: str, successor: str, now: int = NOW) -> str | None:
    user = await users.rotate(token, successor, now, now + DAY)
    return user and user.name


async def test_tables_are_made_once(users: Users, database: Database) -> None:
    await users.add(ANN)
    assert await Users(database).find("ann") == ANN


async def test_user_is_found_as_added(users: Users) -> None:
    assert await users.add(ANN)
    assert await users.add(User("ben", "$other"))
    assert await users.find("ann") == ANN
    assert await users.all() == [ANN, User("ben", "$other")]


@pytest.mark.parametrize("name", ["nobody", "", "Ann", SQL, "ann' OR '1'='1", "%"])
async def test_user_who_is_not_there_is_not_found(users: Users, name: str) -> None:
    await users.add(ANN)
    assert await users.find(name) is None
    assert not await users.disable(name, NOW)
    assert await users.all() == [ANN]


async def test_name_that_is_taken_stays_whose_it_was(users: Users) -> None:
    await users.add(ANN)
    assert not await users.add(User("ann", "$stolen"))
    assert await users.find("ann") == ANN


async def test_token_gives_the_next_one(session: Users) -> None:
    assert await session.rotate("t1", "t2", NOW, NOW + DAY) == ANN
    assert await rotated(session, "t2", "t3") == "ann"


@pytest.mark.parametrize("token", ["t9", "", SQL])
async def test_token_that_was_never_given_is_not_good(session: Users, token: str) -> None:
    assert await rotated(session, token, "t2") is None
    assert await rotated(session, "t1", "t2") == "ann"


async def test_token_that_is_used_twice_ends_its_session(session: Users) -> None:
    assert await rotated(session, "t1", "t2") == "ann"
    assert await rotated(session, "t1", "t3") is None
    assert await rotated(session, "t2", "t4") is None


async def test_other_sessions_of_the_user_go_on(session: Users) -> None:
    await session.begin("other", "ann", "u1", NOW, NOW + DAY)
    await rotated(session, "t1", "t2")
    await rotated(session, "t1", "t3")
    assert await rotated(session, "u1", "u2") == "ann"


async def test_of_many_who_bring_one_token_one_wins_and_its_session_ends(session: Users) -> None:
    for round_number in range(10):
        first = f"first {round_number}"
        await session.begin(f"s{round_number}", "ann", first, NOW, NOW + DAY)
        tries = [f"{round_number} {n}" for n in range(8)]
        found = await asyncio.gather(*(rotated(session, first, each) for each in tries))
        assert sorted(found, key=str) == [None] * 7 + ["ann"]
        (winner,) = [each for each, name in zip(tries, found, strict=True) if name]
        assert await rotated(session, winner, "never") is None


async def test_token_is_good_until_it_expires(session: Users) -> None:
    assert await rotated(session, "t1", "t2", NOW + DAY - 1) == "ann"
    assert await rotated(session, "t2", "t3", NOW + 2 * DAY - 1) is None


async def test_disabled_user_is_let_in_no_more(session: Users) -> None:
    assert await session.disable("ann", NOW + 5)
    assert await rotated(session, "t1", "t2") is None
    found = await session.find("ann")
    assert found is not None
    assert found.disabled_at == NOW + 5
    # A session that was begun in that moment does not go on either.
    await session.begin("late", "ann", "u1", NOW, NOW + DAY)
    assert await rotated(session, "u1", "u2") is None


async def test_user_who_is_disabled_again_was_so_since_the_first_time(session: Users) -> None:
    await session.disable("ann", NOW + 5)
    assert await session.disable("ann", NOW + 9)
    assert await session.disabled_since(NOW + 5) == {"ann": NOW + 5}
    assert await session.disabled_since(NOW + 6) == {}


@pytest.mark.parametrize("token", ["t1", "t2"])
async def test_session_ends_by_any_of_its_tokens(session: Users, token: str) -> None:
    await rotated(session, "t1", "t2")
    await session.end(token, NOW)
    assert await rotated(session, "t2", "t3") is None


async def test_end_of_a_token_that_was_never_given_ends_nothing(session: Users) -> None:
    await session.end(SQL, NOW)
    assert await rotated(session, "t1", "t2") == "ann"


async def test_what_has_expired_is_forgotten_and_nothing_else(
    session: Users, database: Database
) -> None:
    await session.begin("short", "ann", "u1", NOW, NOW + 5)
    await rotated(session, "t1", "t2", NOW + 10)
    await session.sweep(NOW + DAY + 5)
    tokens = await database.fetch("SELECT hash FROM gateway_refresh_tokens")
    sessions = await database.fetch("SELECT id FROM gateway_sessions")
    assert [row["hash"] for row in tokens] == ["t2"]
    assert [row["id"] for row in sessions] == ["s"]
