from __future__ import annotations

from typing import Any

import pytest

from gateway.identity import directory
from gateway.identity.passwords import Passwords
from gateway.stores import Database
from gateway.stores.users import Users
from tests.identity.minting import NOW


@pytest.fixture
def users(database: Database) -> Users:
    return Users(database)


async def add(users: Users, name: str = "Ann", password: str = "sesame-1", **more: Any) -> str:
    table = {"scopes": ["read", "write", "read"], "tier": "pro", "clock": lambda: NOW} | more
    return await directory.add(users, name, password, **table)


async def test_user_who_was_added_can_sign_in_and_is_listed(users: Users) -> None:
    assert await add(users) == "ann"
    found = await users.find("ann")
    assert found is not None
    passwords = Passwords(1)
    assert await passwords.matches(found.password, "sesame-1")
    passwords.close()
    assert list(await directory.rows(users)) == [
        ("ann", "read write", "pro", "2027-01-15T08:00:00Z", "-")
    ]


async def test_user_who_was_disabled_is_listed_so(users: Users) -> None:
    await add(users, scopes=[])
    assert await directory.disable(users, "ANN", lambda: NOW + 60) == "ann"
    assert [row[1:] for row in await directory.rows(users)] == [
        ("-", "pro", "2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z")
    ]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"name": ""}, "a name is"),
        ({"name": "-ann"}, "a name is"),
        ({"name": "ann b"}, "a name is"),
        ({"name": "ann\n"}, "a name is"),
        ({"name": "änn"}, "a name is"),
        ({"name": "a" * 129}, "a name is"),
        ({"scopes": ["a b"]}, "a scope is"),
        ({"scopes": [""]}, "a scope is"),
        ({"scopes": ['a"']}, "a scope is"),
        ({"tier": "a b"}, "a tier is"),
        ({"password": "sesame1"}, "a password has 8"),
        ({"password": "x" * 1025}, "a password has 8"),
        ({"password": "sesame-\udcff"}, "a password is text"),
        ({"password": "sesame-1\t"}, "a password is text"),
    ],
)
async def test_what_would_not_do_is_refused(
    users: Users, change: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(ValueError, match=wrong):
        await add(users, **change)
    assert await users.all() == []


async def test_name_that_is_taken_is_refused(users: Users) -> None:
    await add(users)
    with pytest.raises(ValueError, match="there is a user ann already"):
        await add(users, "ANN")


@pytest.mark.parametrize("name", ["ben", "", "'; --", "a\0"])
async def test_nobody_is_not_disabled(users: Users, name: str) -> None:
    with pytest.raises(ValueError, match="no such user"):
        await directory.disable(users, name, lambda: NOW)
