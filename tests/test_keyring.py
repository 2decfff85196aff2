from __future__ import annotations

import pytest

from gateway import apikeys
from gateway.keyring import LONGEST_OWNER, MOST_SCOPES, Keyring, NoSuchKeyError, NotActiveError
from gateway.stores import Database
from gateway.stores.keys import Keys

NOW = 1_800_000_000.0
MS = 1_800_000_000_000


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(database: Database, clock: Clock) -> Keyring:
    return Keyring(Keys(database), clock=clock)


async def test_new_key_is_stored_by_its_digest_only(ring: Keyring, database: Database) -> None:
    made, key = await ring.create("ann", "pro", ["a", "b", "a"], None)
    assert apikeys.is_sound(key.encode())
    assert made.hash == apikeys.digest(key.encode())
    assert (made.owner, made.tier, made.scopes) == ("ann", "pro", ("a", "b"))
    assert (made.created_at, made.expires_at) == (MS, None)
    (stored,) = await database.fetch("SELECT * FROM gateway_api_keys")
    assert key not in str(stored)
    assert key[4:20] not in str(stored)


async def test_lifetime_is_counted_from_now(ring: Keyring) -> None:
    made, _ = await ring.create("ann", "pro", [], 90 * 86400.0)
    assert made.expires_at == MS + 90 * 86_400_000


@pytest.mark.parametrize(
    ("owner", "scopes"),
    [
        ("", []),
        ("a" * (LONGEST_OWNER + 1), []),
        ("ann\n", []),
        (" ann", []),
        ("a\x1b[2J", []),
        ("ann", ["two words"]),
        ("ann", [""]),
        ("ann", ['"']),
        ("ann", ["é"]),
        ("ann", [f"s{number}" for number in range(MOST_SCOPES + 1)]),
    ],
)
async def test_owner_or_scope_that_cannot_be_is_refused(
    ring: Keyring, owner: str, scopes: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"owner|scope"):
        await ring.create(owner, "pro", scopes, None)
    assert await ring.all() == []


async def test_rotated_key_has_the_same_rights_and_end(ring: Keyring, clock: Clock) -> None:
    old, old_key = await ring.create("ann", "pro", ["a"], 7200.0)
    clock.now += 60
    new, new_key = await ring.rotate(old.id, 600.0)
    assert new_key != old_key
    assert (new.owner, new.tier, new.scopes) == ("ann", "pro", ("a",))
    assert new.expires_at == old.expires_at
    first, second = await ring.all()
    assert (first.id, first.successor, first.expires_at) == (old.id, new.id, MS + 660_000)
    assert second.id == new.id
    assert [key.state(ring.now) for key in (first, second)] == ["active", "active"]
    clock.now += 600
    assert [key.state(ring.now) for key in (first, second)] == ["expired", "active"]


async def test_rotated_key_may_get_a_lifetime_of_its_own(ring: Keyring) -> None:
    old, _ = await ring.create("ann", "pro", [], 60.0)
    new, _ = await ring.rotate(old.id, 0.0, 3600.0)
    assert new.expires_at == MS + 3_600_000


async def test_key_that_was_rotated_or_is_over_cannot_be(ring: Keyring, clock: Clock) -> None:
    rotated, _ = await ring.create("ann", "pro", [], None)
    await ring.rotate(rotated.id, 3600.0)
    with pytest.raises(NotActiveError, match="rotated already"):
        await ring.rotate(rotated.id, 3600.0)
    revoked, _ = await ring.create("ann", "pro", [], None)
    await ring.revoke(revoked.id)
    with pytest.raises(NotActiveError, match="is revoked"):
        await ring.rotate(revoked.id, 3600.0)
    expired, _ = await ring.create("ann", "pro", [], 1.0)
    clock.now += 1
    with pytest.raises(NotActiveError, match="is expired"):
        await ring.rotate(expired.id, 3600.0)
    assert len(await ring.all()) == 4


async def test_id_that_names_no_key_is_told(ring: Keyring) -> None:
    with pytest.raises(NoSuchKeyError):
        await ring.rotate("key_none", 0.0)
    with pytest.raises(NoSuchKeyError):
        await ring.revoke("key_none")


async def test_revoked_key_is_over(ring: Keyring) -> None:
    made, _ = await ring.create("ann", "pro", [], None)
    await ring.revoke(made.id)
    await ring.revoke(made.id)
    (found,) = await ring.all()
    assert found.state(ring.now) == "revoked"
