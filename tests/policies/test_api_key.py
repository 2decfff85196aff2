"""Keys looked up once, then remembered: by whom, for how long, and what becomes of it in a loss."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from gateway import apikeys
from gateway.errors import StoreDown, Unauthorized
from gateway.exchange import Principal
from gateway.policies import api_key as module
from gateway.policies.api_key import ApiKeys
from gateway.stores.keys import ApiKey
from tests.http1.reading import exchange

NOW = 1_800_000_000.0
MS = 1_800_000_000_000


class Store:
    """Keys in memory, which can be lost, and held back until `gate` opens."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.asked: list[list[str]] = []
        self.looks = 0
        self.uses: list[Mapping[str, int]] = []
        self.revision = 0
        self.lost = False
        self.problem: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    def put(self, key: ApiKey) -> None:
        self.revision += 1
        self.keys[key.hash] = replace(key, revision=self.revision)

    def add(self, **more: Any) -> bytes:
        key = apikeys.make(secrets.choice)
        name = f"key_{len(self.keys)}"
        self.put(ApiKey(name, apikeys.digest(key.encode()), "ann", "pro", ("a",), MS, **more))
        return key.encode()

    def change(self, key: bytes, **more: Any) -> None:
        self.put(replace(self.keys[sha256(key).hexdigest()], **more))

    async def find(self, digests: Sequence[str]) -> Mapping[str, ApiKey]:
        self.asked.append(list(digests))
        found = {digest: self.keys[digest] for digest in digests if digest in self.keys}
        self.arrived.set()
        await self.gate.wait()
        self._check()
        return found

    async def newest(self) -> int:
        self._check()
        return self.revision

    async def changed(self, since: int) -> tuple[int, list[str]] | None:
        self._check()
        self.looks += 1
        if self.revision < since:
            return None
        changed = [digest for digest, key in self.keys.items() if key.revision > since]
        return self.revision, changed

    async def used(self, times: Mapping[str, int]) -> None:
        self._check()
        self.uses.append(times)

    def _check(self) -> None:
        if self.lost:
            raise StoreDown
        if self.problem is not None:
            raise self.problem


class Scene:
    def __init__(self) -> None:
        self.now = NOW
        self.store = Store()
        self.reasons: list[str] = []
        self.policy = ApiKeys(self.store, failed=self.reasons.append, clock=lambda: self.now)

    def ask(self, key: bytes) -> Principal | Coroutine[Any, Any, Principal] | None:
        return self.policy.authenticate(exchange(b"X-API-Key: " + key))

    async def who(self, key: bytes) -> Principal:
        found = self.ask(key)
        assert found is not None
        return found if isinstance(found, Principal) else await found

    def known(self, key: bytes) -> bool:
        """Whether it is known without asking anybody."""
        found = self.ask(key)
        if isinstance(found, Principal):
            return True
        assert found is not None
        found.close()
        return False

    async def refused(self, key: bytes) -> None:
        with pytest.raises(Unauthorized, match="the API key is not valid"):
            await self.who(key)

    @property
    def look_ups(self) -> int:
        return len(self.store.asked)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """It looks for changes when the test says so."""
    monkeypatch.setattr(module, "LOOK_EVERY", 1e6)
    scene = Scene()
    await scene.policy.refresh()
    yield scene
    await scene.policy.close()


async def test_request_without_a_key_is_nobodys(scene: Scene) -> None:
    assert scene.policy.authenticate(exchange(b"Authorization: Bearer x")) is None
    assert scene.reasons == []


async def test_key_says_who_asks_and_is_looked_up_once(scene: Scene) -> None:
    key = scene.store.add()
    await scene.who(key)  # the first key of all begins the looks, and may be looked up again
    found = await scene.who(key)
    before = scene.look_ups
    assert found == Principal("api_key", "key_0", "pro", frozenset({"a"}), "ann")
    assert scene.ask(key) is scene.ask(key)
    assert scene.look_ups == before


async def test_mistyped_key_is_refused_without_a_look_up(scene: Scene) -> None:
    key = scene.store.add()
    for wrong in (b"", key[:-1], key + b"x", key.swapcase(), b"Bearer x"):
        await scene.refused(wrong)
    assert scene.look_ups == 0
    assert set(scene.reasons) == {"malformed_key"}


async def warm(scene: Scene, key: bytes) -> None:
    """Have the key known."""
    while not scene.known(key):
        await scene.who(key)


async def test_unknown_key_is_looked_up_again_only_after_a_while(scene: Scene) -> None:
    await warm(scene, scene.store.add())
    guess = apikeys.make(secrets.choice).encode()
    before = scene.look_ups
    for _ in range(5):
        await scene.refused(guess)
    assert scene.look_ups == before + 1
    scene.now += module.BAD_FOR
    await scene.refused(guess)
    assert scene.look_ups == before + 2
    assert scene.reasons == ["unknown_key"] * 6


async def test_key_that_is_revoked_or_expired_is_refused_and_told_apart(scene: Scene) -> None:
    await scene.refused(scene.store.add(revoked_at=MS))
    await scene.refused(scene.store.add(expires_at=MS))
    assert scene.reasons == ["revoked_key", "expired_key"]


async def test_key_expires_to_the_second_without_a_look_up(scene: Scene) -> None:
    key = scene.store.add(expires_at=MS + 5000)
    await warm(scene, key)
    scene.now += 4.999
    assert scene.known(key)
    scene.now += 0.001
    await scene.refused(key)
    assert scene.reasons == ["expired_key"]


async def test_concurrent_misses_of_a_key_are_one_look_up(scene: Scene) -> None:
    key = scene.store.add()
    found = await asyncio.gather(*(scene.who(key) for _ in range(50)))
    assert len(set(map(id, found))) == 1
    assert scene.look_ups == 1


async def test_keys_that_come_during_a_query_share_the_next(scene: Scene) -> None:
    keys = [scene.store.add() for _ in range(module.AT_ONCE + 10)]
    scene.store.gate.clear()
    tasks = [asyncio.create_task(scene.who(keys[0]))]
    await scene.store.arrived.wait()
    tasks += [asyncio.create_task(scene.who(key)) for key in keys[1:]]
    await asyncio.sleep(0)
    scene.store.gate.set()
    found = await asyncio.gather(*tasks)
    assert [principal.id for principal in found] == [f"key_{n}" for n in range(len(keys))]
    assert [len(asked) for asked in scene.store.asked] == [1, module.AT_ONCE, 9]


async def test_client_that_leaves_does_not_take_the_answer_from_others(scene: Scene) -> None:
    key = scene.store.add()
    scene.store.gate.clear()
    first, second = (asyncio.create_task(scene.who(key)) for _ in range(2))
    await scene.store.arrived.wait()
    first.cancel()
    await asyncio.sleep(0)
    scene.store.gate.set()
    assert (await second).id == "key_0"
    assert first.cancelled()


# -------------------------------------------------------------------------------------- changes


async def test_key_is_forgotten_when_it_changes_and_no_other_is(scene: Scene) -> None:
    key, other = scene.store.add(), scene.store.add()
    await warm(scene, key)
    await warm(scene, other)
    scene.store.change(key, revoked_at=MS)
    await scene.policy.refresh()
    assert scene.known(other)
    await scene.refused(key)


async def test_what_did_not_change_is_not_asked_again(scene: Scene) -> None:
    key = scene.store.add()
    await warm(scene, key)
    before = scene.look_ups
    for _ in range(5):
        await scene.policy.refresh()
        assert scene.known(key)
    assert scene.look_ups == before


async def test_guess_that_becomes_a_key_is_let_in(scene: Scene) -> None:
    await warm(scene, scene.store.add())
    key = apikeys.make(secrets.choice).encode()
    await scene.refused(key)
    scene.store.put(ApiKey("key_9", apikeys.digest(key), "ben", "free", (), MS))
    await scene.policy.refresh()
    assert (await scene.who(key)).id == "key_9"


async def test_look_up_that_a_change_overtook_is_not_remembered(scene: Scene) -> None:
    key, other = scene.store.add(), scene.store.add()
    await warm(scene, other)
    scene.store.gate.clear()
    scene.store.arrived.clear()
    asking = asyncio.create_task(scene.who(key))
    await scene.store.arrived.wait()  # it has read the key
    scene.store.change(key, revoked_at=MS)
    await scene.policy.refresh()  # this saw the change before that answer is there
    scene.store.gate.set()
    assert (await asking).id == "key_0"
    await scene.refused(key)


async def test_database_that_is_another_one_is_believed_in_nothing(scene: Scene) -> None:
    key = scene.store.add()
    await warm(scene, key)
    guess = apikeys.make(secrets.choice).encode()
    await scene.refused(guess)
    scene.store.keys.clear()
    scene.store.revision = 0
    await scene.policy.refresh()
    before = scene.look_ups
    await scene.refused(key)
    await scene.refused(guess)
    assert scene.look_ups == before + 2


async def test_changes_are_looked_for_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(module, "NOTE_EVERY", 0.0)
    scene = Scene()
    key = scene.store.add()
    await scene.who(key)
    scene.store.change(key, revoked_at=MS)
    async with asyncio.timeout(5):
        while scene.known(key) or not scene.store.uses:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await scene.refused(key)
    await scene.policy.close()
    looks = scene.store.looks
    await asyncio.sleep(0.01)
    assert scene.store.looks == looks


async def test_mistake_of_ours_does_not_end_the_looks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.001)
    scene = Scene()
    key = scene.store.add()
    await scene.who(key)
    scene.store.problem = KeyError("x")
    async with asyncio.timeout(5):
        while not caplog.records:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    scene.store.problem = None
    scene.store.change(key, revoked_at=MS)
    async with asyncio.timeout(5):
        while scene.known(key):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await scene.policy.close()


# ----------------------------------------------------------------------------------------- loss


async def test_known_key_goes_on_while_the_store_is_lost_until_its_time(scene: Scene) -> None:
    key, other = scene.store.add(), scene.store.add()
    await warm(scene, key)
    await scene.policy.refresh()
    scene.store.lost = True
    scene.now += module.GOOD_FOR - 1
    await scene.policy.refresh()
    assert scene.known(key)
    with pytest.raises(StoreDown):
        await scene.who(other)
    scene.now += 1
    with pytest.raises(StoreDown):
        await scene.who(key)


async def test_key_that_was_looked_up_long_ago_outlives_a_loss_as_well(scene: Scene) -> None:
    key = scene.store.add()
    await warm(scene, key)
    scene.now += module.GOOD_FOR * 3
    await scene.policy.refresh()
    scene.store.lost = True
    scene.now += module.GOOD_FOR - 1
    assert scene.known(key)


async def test_all_is_well_when_the_store_is_back(scene: Scene) -> None:
    key, revoked = scene.store.add(), scene.store.add()
    await warm(scene, key)
    await warm(scene, revoked)
    scene.store.lost = True
    scene.now += module.GOOD_FOR
    await scene.policy.refresh()
    scene.store.lost = False
    scene.store.change(revoked, revoked_at=MS)
    await scene.policy.refresh()
    assert scene.known(key)
    await scene.refused(revoked)


async def test_every_waiter_hears_of_the_loss_and_the_next_one_asks_again(scene: Scene) -> None:
    key = scene.store.add()
    scene.store.lost = True
    answers = await asyncio.gather(*(scene.who(key) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreDown] * 3
    scene.store.lost = False
    assert (await scene.who(key)).id == "key_0"


async def test_mistake_of_ours_is_told_and_holds_nobody_up(scene: Scene) -> None:
    key = scene.store.add()
    scene.store.problem = KeyError("x")
    with pytest.raises(KeyError):
        await scene.who(key)
    scene.store.problem = None
    assert (await scene.who(key)).id == "key_0"


async def test_who_waits_when_the_worker_ends_is_let_go() -> None:
    scene = Scene()
    key = scene.store.add()
    scene.store.gate.clear()
    waiting = asyncio.create_task(scene.who(key))
    await scene.store.arrived.wait()
    await scene.policy.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# ---------------------------------------------------------------------------------------- bounds


async def test_guesses_push_each_other_out_and_no_good_key(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BAD", 10)
    key = scene.store.add()
    await warm(scene, key)
    guesses = [apikeys.make(secrets.choice).encode() for _ in range(11)]
    for guess in guesses:
        await scene.refused(guess)
    before = scene.look_ups
    assert scene.known(key)
    await scene.refused(guesses[-1])
    assert scene.look_ups == before
    await scene.refused(guesses[0])
    assert scene.look_ups == before + 1


async def test_of_too_many_good_keys_the_oldest_is_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GOOD", 2)
    keys = [scene.store.add() for _ in range(3)]
    await warm(scene, keys[0])
    await warm(scene, keys[1])
    scene.store.change(keys[0])
    await scene.policy.refresh()
    await warm(scene, keys[0])  # the newest again
    await warm(scene, keys[2])
    assert [scene.known(key) for key in keys] == [True, False, True]


# ------------------------------------------------------------------------------------------- use


async def test_use_is_noted_at_once_for_many_requests(scene: Scene) -> None:
    key, other = scene.store.add(), scene.store.add()
    await warm(scene, key)
    await warm(scene, other)
    scene.now += 5
    scene.known(key)
    await scene.policy.note()
    await scene.policy.note()
    assert scene.store.uses == [{"key_0": MS + 5000, "key_1": MS}]


async def test_use_during_a_loss_is_noted_later(scene: Scene) -> None:
    key = scene.store.add()
    await warm(scene, key)
    scene.store.lost = True
    await scene.policy.note()
    scene.now += 5
    scene.known(key)
    scene.store.lost = False
    await scene.policy.note()
    assert scene.store.uses == [{"key_0": MS + 5000}]


async def test_use_is_noted_when_the_worker_ends() -> None:
    scene = Scene()
    await scene.who(scene.store.add())
    await scene.policy.close()
    assert scene.store.uses == [{"key_0": MS}]
