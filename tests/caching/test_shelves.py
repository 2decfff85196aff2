"""Both layers together: what is found, what is void, what a server's silence does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.caching import epochs
from gateway.caching.epochs import Epochs
from gateway.caching.freshness import Terms
from gateway.caching.front import Front
from gateway.caching.shelves import Shelves, lasting
from gateway.caching.stored import Stored
from gateway.errors import StoreDown

KEY = b"http://a/x"


def stored(body: bytes = b"body", **terms: Any) -> Stored:
    return Stored(200, b"", [], body, born=0, terms=Terms(60, 0, **terms))


class Server:
    """A shelf that answers when it is let, and remembers what it was told."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.lost = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.waits = True

    async def _answer(self) -> None:
        self.asked += 1
        await self.gate.wait()
        if self.lost:
            raise StoreDown

    async def _get(self, key: bytes) -> bytes | None:
        found = self.data.get(key)
        await self._answer()
        return found

    def get(self, key: bytes) -> Coroutine[Any, Any, bytes | None]:
        return self._get(key)

    async def put(self, key: bytes, data: bytes, seconds: float, stamp: int) -> None:
        await self._answer()
        self.data[key] = data

    async def drop(self, key: bytes) -> None:
        await self._answer()
        self.data.pop(key, None)

    async def purge(self, wanted: Callable[[bytes], bool]) -> set[bytes]:
        await self._answer()
        found = {key for key in self.data if wanted(key)}
        for key in found:
            del self.data[key]
        return found


class Host:
    """Two workers of a host, over one server."""

    def __init__(self, front: int = 1 << 20) -> None:
        self.server = Server()
        self.epochs = Epochs(memoryview(bytearray(epochs.BYTES)))
        self.one = Shelves(Front(front), self.server, self.epochs)
        self.two = Shelves(Front(front), self.server, self.epochs)


def keep(shelves: Shelves, entry: Stored, *names: bytes, lines: tuple[bytes, ...] = ()) -> None:
    shelves.keep(KEY, shelves.stamp(KEY), entry, names, lines)


async def found(shelves: Shelves, *lines: bytes) -> bytes | None:
    entry = shelves.look(KEY, lines)
    if entry is not None and not isinstance(entry, Stored):
        entry = await entry
    return None if entry is None else entry.body


async def test_what_one_keeps_the_other_finds_and_has_in_front_then() -> None:
    host = Host()
    keep(host.one, stored())
    await host.one.close()
    assert host.two.held(KEY) is None
    assert await found(host.two) == b"body"
    assert host.two.held(KEY) is not None
    asked = host.server.asked
    assert await found(host.two) == b"body"
    assert host.server.asked == asked


async def test_variants_lie_behind_a_marker() -> None:
    host = Host()
    for value in (b"1", b"2"):
        keep(host.one, stored(value), b"foo", lines=(b"Foo: " + value,))
    await host.one.close()
    for shelves in (host.one, host.two):
        assert await found(shelves, b"Foo: 1") == b"1"
        assert await found(shelves, b"Foo: 2") == b"2"
        assert await found(shelves, b"Foo: 3") is None
    assert host.one.selected(KEY, [b"Foo: 1"]) != host.one.selected(KEY, [b"Foo: 2"])


async def test_other_names_begin_anew() -> None:
    host = Host()
    keep(host.one, stored(b"1"), b"foo")
    keep(host.one, stored(b"2"), b"bar")
    keep(host.one, stored(b"3"), b"foo")
    await host.one.close()
    assert await found(host.one) == b"3"


async def test_dropping_reaches_variants_and_workers() -> None:
    host = Host()
    keep(host.one, stored(b"1"), b"foo")
    await host.one.close()
    assert await found(host.two) == b"1"
    host.one.drop(KEY)
    assert host.two.held(KEY) is None
    await host.one.close()
    assert await found(host.one) is None
    assert await found(host.two) is None
    keep(host.one, stored(b"2"), b"foo", lines=(b"Foo: new",))
    await host.one.close()
    assert await found(host.two) is None


async def test_answer_from_before_the_drop_is_not_kept() -> None:
    host = Host()
    before = host.one.stamp(KEY)
    host.two.drop(KEY)
    host.one.keep(KEY, before, stored(), (), ())
    await host.one.close()
    await host.two.close()
    assert await found(host.one) is None


async def test_nothing_is_found_while_the_server_is_told_to_forget() -> None:
    host = Host(front=0)
    keep(host.one, stored())
    await host.one.close()
    host.server.gate.clear()
    host.one.drop(KEY)
    host.one.drop(KEY)
    assert host.one.look(KEY, ()) is None
    host.server.gate.set()
    await host.one.close()
    assert await found(host.one) is None


async def test_answer_that_was_read_before_the_drop_is_not_used() -> None:
    host = Host(front=0)
    keep(host.one, stored())
    await host.one.close()
    host.server.gate.clear()
    looking = asyncio.create_task(found(host.one))
    await asyncio.sleep(0)  # it has read, and waits
    assert host.server.asked == 2
    host.two.drop(KEY)
    host.server.gate.set()
    assert await looking is None
    await host.two.close()


async def test_purge_has_copies_looked_up_again() -> None:
    host = Host()
    keep(host.one, stored())
    await host.one.close()
    assert await found(host.two) == b"body"
    assert await host.one.purge(lambda key: key == b"other") == 0
    assert host.two.held(KEY) is None
    assert await found(host.two) == b"body"
    assert await host.one.purge(lambda key: key == KEY) == 1
    assert await found(host.one) is None
    assert await found(host.two) is None


async def test_lost_server_is_an_empty_one() -> None:
    host = Host()
    host.server.lost = True
    assert await found(host.one) is None
    keep(host.one, stored())
    host.one.drop(b"other")
    await host.one.close()
    assert await found(host.one) == b"body"
    assert await found(host.two) is None


async def test_what_is_not_understood_is_not_there() -> None:
    host = Host()
    host.server.data[KEY] = b"of another version"
    assert await found(host.one) is None


def test_kept_for_as_long_as_it_can_be_of_use() -> None:
    assert lasting(stored()) == 86400
    assert lasting(stored(if_error=100_000)) == 100_000
    assert lasting(stored(while_revalidating=2**31)) == 30 * 86400
