"""The cache's ring: its bounds, its races, its processes."""

from __future__ import annotations

import fcntl
import os
import random
import signal
from collections.abc import Callable

import pytest

from gateway.stores import shared_cache
from gateway.stores.shared_cache import Memory, SharedCache

SIZE = 1 << 16


class Ring(SharedCache):
    """With a clock to set."""

    def __init__(self, size: int = SIZE) -> None:
        self.memory = Memory(size)
        self.now = 1000.0
        super().__init__(self.memory, clock=lambda: self.now)

    def keep(self, key: bytes, data: bytes, seconds: float = 60) -> None:
        epochs = self.memory.epochs
        self.put(key, data, seconds, epochs.value(epochs.cell(key)))


def in_child(work: Callable[[], object]) -> bool:
    """Whether nothing is wrong in another process that shares the memory."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 1 if work() is False else 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def test_oldest_is_overwritten_and_nothing_else_is_given() -> None:
    ring = Ring()
    for number in range(200):
        ring.keep(b"%d" % number, b"%d" % number * 500)
    left = [number for number in range(200) if ring.get(b"%d" % number) is not None]
    assert left
    assert left[0] > 100
    for number in left:
        assert ring.get(b"%d" % number) in (None, b"%d" % number * 500)


def test_what_is_read_stays_while_others_come() -> None:
    ring = Ring()
    ring.keep(b"hot", b"!" * 100)
    for number in range(1000):
        ring.keep(b"%d" % number, b"x" * 300)
        assert ring.get(b"hot") == b"!" * 100


def test_one_answer_does_not_fill_it() -> None:
    ring = Ring()
    ring.keep(b"a", b"x" * (SIZE // shared_cache.SHARE))
    assert ring.get(b"a") is None


def test_index_that_is_full_forgets_the_oldest() -> None:
    ring = Ring()
    for number in range(5 * ring.memory.slots):
        ring.keep(b"%d" % number, b"")
    last = 5 * ring.memory.slots - 1
    assert ring.get(b"%d" % last) == b""


def test_time_ends_it() -> None:
    ring = Ring()
    ring.keep(b"a", b"one", seconds=5)
    ring.now += 4
    assert ring.get(b"a") == b"one"
    ring.now += 3
    assert ring.get(b"a") is None


def test_hash_that_two_keys_share_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "_hash", lambda key: 5)
    ring = Ring()
    ring.keep(b"a", b"one")
    assert ring.get(b"b") is None
    ring.keep(b"b", b"two")
    assert (ring.get(b"a"), ring.get(b"b")) == (None, b"two")


@pytest.mark.parametrize("offset", [0, 8, 20, 40])
def test_bytes_that_were_torn_are_not_given(offset: int) -> None:
    ring = Ring()
    ring.keep(b"key", b"x" * 100)
    at = ring.memory.ring_at + offset
    ring.memory.map[at] ^= 0xFF
    assert ring.get(b"key") is None


def test_slot_that_was_torn_is_not_followed() -> None:
    ring = Ring()
    ring.keep(b"key", b"x" * 100)
    for at in range(shared_cache._SLOTS_AT, ring.memory.ring_at, shared_cache._SLOT.size):
        name, place, _, end = shared_cache._SLOT.unpack_from(ring.memory.map, at)
        if place:
            shared_cache._SLOT.pack_into(ring.memory.map, at, name, place, 7, end)
    assert ring.get(b"key") is None
    assert list(ring._keys(0)) == []


def test_record_that_is_overwritten_while_it_is_copied_is_not_given() -> None:
    ring = Ring()
    ring.keep(b"key", b"x" * 100)
    shared_cache._HEAD.pack_into(ring.memory.map, 0, 2 * SIZE)
    assert ring.get(b"key") is None
    assert list(ring._keys(0)) == []


def test_what_one_process_keeps_another_finds() -> None:
    ring = Ring()
    ring.keep(b"a", b"one")
    assert in_child(lambda: ring.get(b"a") == b"one")
    assert in_child(lambda: ring.keep(b"b", b"two"))
    assert ring.get(b"b") == b"two"
    assert in_child(lambda: ring.drop(b"a"))
    assert ring.get(b"a") is None


def test_lock_of_another_process_is_not_waited_for() -> None:
    ring = Ring()
    ready, hold = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        fcntl.lockf(ring.memory.file, fcntl.LOCK_EX, 1)
        os.write(ready[1], b"x")
        os.read(hold[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    ring.keep(b"a", b"one")
    assert ring.get(b"a") is None
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    ring.keep(b"a", b"one")  # the kernel took the lock back
    assert ring.get(b"a") == b"one"
    for end in (*ready, *hold):
        os.close(end)


def test_processes_that_write_at_once_never_mix_answers() -> None:
    ring = Ring()

    def work() -> bool:
        chosen = random.Random(os.getpid())
        for _ in range(3000):
            key = b"%d" % chosen.randrange(50)
            if chosen.random() < 0.5:
                ring.keep(key, key * chosen.randrange(1, 900))
            elif (data := ring.get(key)) is not None and data != key * (len(data) // len(key)):
                return False
        return True

    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = 0 if work() else 1
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
