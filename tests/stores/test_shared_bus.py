"""The host's log: its bounds, its readers who are late, its processes and their deaths."""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stores import mutexes, shared_bus
from gateway.stores.shared_bus import Record, SharedBus, SharedLog
from tests.stores.hearing import Heard

SIZE = 1 << 14


@contextmanager
def forked(work: Callable[[], object]) -> Iterator[int]:
    """A child that does `work`, unless it is killed before."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    try:
        yield child
    finally:
        os.waitpid(child, 0)


def everything(log: SharedLog) -> list[Record]:
    """All that is in the log."""
    place, _ = log.oldest()
    found: list[Record] = []
    while (read := log.read(place)) is not None and read[0] != place:
        place = read[0]
        found += read[1]
    return found


def body(number: int) -> bytes:
    """Of an event, as long and as odd as its number says; what is torn does not fit."""
    return b"%d:" % number + bytes([number % 251]) * (number * 37 % 900)


def whole(data: bytes) -> bool:
    return data == body(int(data.split(b":")[0]))


# ------------------------------------------------------------------------------------ the ring


def test_oldest_make_room_and_the_rest_is_whole() -> None:
    log = SharedLog(0, SIZE)
    for number in range(1, 500):
        assert log.append(b"s", body(number)) == number
        found = everything(log)
        last = [record.number for record in found]
        assert last == list(range(last[0], number + 1))
        assert log.oldest()[1] == last[0] - 1
        assert all(record == Record(record.number, b"s", body(record.number)) for record in found)
        used = sum(16 + -(-(1 + len(record.data)) // 16) * 16 for record in found)
        assert used <= log.size
        if last[0] > 1:  # it forgets no more than it has to
            assert used > log.size - 3 * 1024


@given(st.lists(st.integers(0, SIZE // shared_bus.SHARE - 17), max_size=60), st.integers(0, 40))
def test_reader_at_any_place_goes_on_or_learns_of_the_gap(sizes: list[int], behind: int) -> None:
    log = SharedLog(0, SIZE)
    place, floor = log.oldest()
    for number, size in enumerate(sizes, 1):
        log.append(b"s", b"%c" % (number % 256) * size)
        if number % (behind + 1):
            continue
        found = log.read(place)
        if found is None:
            place, gone = log.oldest()
            assert floor < gone < number
            floor = gone
            found = log.read(place)
            assert found is not None
        while found[0] != place:
            for record in found[1]:
                assert record.number == floor + 1
                floor = record.number
                assert record.data == b"%c" % (floor % 256) * sizes[floor - 1]
            place = found[0]
            found = log.read(place)
            assert found is not None
        assert floor == number


def test_event_that_takes_too_much_is_refused_and_nothing_changes() -> None:
    log = SharedLog(0, SIZE)
    log.append(b"s", b"one")
    most = SIZE // shared_bus.SHARE - 16 - 1
    with pytest.raises(ValueError, match="more than the log can carry"):
        log.append(b"s", b"x" * (most + 1))
    assert log.append(b"s", b"x" * most) == 2
    assert [record.number for record in everything(log)] == [1, 2]


def test_record_that_is_longer_than_a_piece_is_read() -> None:
    log = SharedLog(0, 1 << 20)
    sent = [b"small", b"x" * 3 * shared_bus.PIECE, b"small"]
    for data in sent:
        log.append(b"s", data)
    assert [record.data for record in everything(log)] == sent


def test_epochs_differ() -> None:
    assert SharedLog(0, SIZE).epoch != SharedLog(0, SIZE).epoch


def test_log_takes_no_descriptors_when_it_is_gone() -> None:
    log = SharedLog(3, SIZE)
    wakes = list(log.wakes)
    del log
    for wake in wakes:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.eventfd_read(wake)


def test_slot_that_nobody_reads_holds_up_nobody() -> None:
    log = SharedLog(1, SIZE)
    os.eventfd_write(log.wakes[0], 2**64 - 2)  # as many as fit
    assert log.append(b"s", b"one") == 1


# ----------------------------------------------------------------------------------- listening


async def test_late_listener_is_told_of_the_gap_and_goes_on() -> None:
    log = SharedLog(1, SIZE)
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 0)
    for number in range(1, 200):  # in one turn of the loop: it has no chance to read
        log.append(b"s", body(number))
    await heard.until(lambda: heard.numbers[-1:] == [199])
    assert heard.begun[0] == (log.epoch, 0)
    assert heard.begun[1] == (log.epoch, heard.numbers[0] - 1)
    assert len(heard.begun) == 2
    assert heard.numbers == list(range(heard.floor + 1, 200))
    assert heard.floor > 0
    await bus.close()


async def test_past_is_of_the_subject_though_others_came_between() -> None:
    log = SharedLog(1, 1 << 20)
    for number in range(1, 31):
        log.append(b"s" if number % 3 == 0 else b"other", b"%d" % number)
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 4)
    assert heard.story == [(log.epoch, 18, b"begin")] + [
        (log.epoch, number, b"%d" % number) for number in (21, 24, 27, 30)
    ]
    await bus.close()


async def test_past_that_was_overwritten_is_below_the_floor() -> None:
    log = SharedLog(1, SIZE)
    for number in range(1, 300):
        log.append(b"s", body(number))
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 1000)
    assert heard.begun == [(log.epoch, heard.numbers[0] - 1)]
    assert heard.numbers[-1] == 299
    await bus.close()


async def test_past_that_is_overwritten_while_it_is_read_is_below_the_floor() -> None:
    log = SharedLog(1, 1 << 18)
    for number in range(1, 2000):
        log.append(b"s", body(number))
    bus, heard = SharedBus(log, 0), Heard()
    listening = asyncio.create_task(bus.listen("s", heard, 10_000))
    await asyncio.sleep(0)  # a piece is read
    for number in range(2000, 4000):
        log.append(b"s", body(number))
    await listening
    assert heard.begun == [(log.epoch, heard.numbers[0] - 1)]
    assert heard.numbers == list(range(heard.floor + 1, 4000))
    await bus.close()


async def test_two_subjects_are_heard_apart() -> None:
    log = SharedLog(1, 1 << 20)
    bus, one, two = SharedBus(log, 0), Heard(), Heard()
    await bus.listen("one", one, 10)
    await bus.publish("one", b"1")
    await bus.publish("two", b"2")
    await bus.listen("two", two, 10)
    await bus.publish("one", b"3")
    await one.count(2)
    assert (one.data, two.data) == ([b"1", b"3"], [b"2"])
    await bus.close()


async def test_others_have_their_turn_while_much_is_heard() -> None:
    log = SharedLog(1)
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 0)
    for _ in range(20_000):
        log.append(b"s", b"x" * 200)
    seen = []
    while len(heard.events) < 20_000:
        seen.append(len(heard.events))
        await asyncio.sleep(0)
    assert max(after - before for before, after in pairwise(seen)) < 500
    await bus.close()


async def test_closed_bus_is_not_woken_and_its_slot_serves_again() -> None:
    log = SharedLog(1, SIZE)
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 0)
    await bus.publish("s", b"one")
    await heard.count(1)
    await bus.publish("s", b"unheard")
    await bus.close()
    successor, again = SharedBus(log, 0), Heard()
    await successor.listen("s", again, 10)
    await successor.publish("s", b"three")
    await again.count(3)
    assert again.data == [b"one", b"unheard", b"three"]
    assert heard.data == [b"one"]
    await successor.close()


# ----------------------------------------------------------------------------------- processes


async def test_processes_that_publish_at_once_are_heard_whole_and_in_order() -> None:
    log = SharedLog(2, 1 << 21)
    buses, all_heard = [SharedBus(log, slot) for slot in range(2)], [Heard(), Heard()]
    for bus, heard in zip(buses, all_heard, strict=True):
        await bus.listen("s", heard, 0)

    def work(first: int) -> Callable[[], None]:
        def publish() -> None:
            for number in range(first, first + 1000):
                log.append(b"s", body(number))

        return publish

    with forked(work(0)), forked(work(1000)), forked(work(2000)):
        pass
    for heard in all_heard:
        await heard.count(3000)
        assert heard.numbers == list(range(1, 3001))
        for first in (0, 1000, 2000):  # of one publisher, in its order
            mine = [data for data in heard.data if first <= int(data.split(b":")[0]) < first + 1000]
            assert mine == [body(number) for number in range(first, first + 1000)]
    assert all_heard[0].story == all_heard[1].story
    for bus in buses:
        await bus.close()


async def test_publishers_that_are_killed_leave_the_log_readable() -> None:
    log = SharedLog(1, SIZE)
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 0)
    chosen = random.Random(4)

    def publish() -> None:
        number = 0
        while True:
            number += 1
            log.append(b"s", body(number))

    for _ in range(40):
        heard_before = len(heard.events)
        with forked(publish) as one, forked(publish) as two:
            await heard.count(heard_before + 1)
            await asyncio.sleep(chosen.random() / 200)  # wherever they are then
            os.kill(one, signal.SIGKILL)
            os.kill(two, signal.SIGKILL)
        await bus.publish("s", body(7))
    last = log.newest()[1]
    await heard.until(lambda: heard.numbers[-1] == last)
    assert all(whole(data) for data in heard.data)
    assert heard.numbers == sorted(set(heard.numbers))
    assert all(whole(record.data) for record in everything(log))
    floors = dict.fromkeys(floor for _, floor in heard.begun[1:])
    jumps = [b for a, b in pairwise(heard.numbers) if b != a + 1]
    unexplained = [number for number in jumps if number - 1 not in floors]
    assert len(unexplained) <= 80  # a number that a death left unused, at most one each
    await bus.close()


@pytest.mark.parametrize("step", range(12))
def test_death_at_any_step_of_an_append_loses_at_most_that_event(step: int) -> None:
    """The child kills itself at its n-th access to the memory while it holds the mutex."""
    log = SharedLog(0, SIZE)
    for number in range(1, 100):
        log.append(b"s", body(number))
    before = everything(log)

    class Cells:
        """The log's cells, deadly at the n-th access."""

        def __init__(self) -> None:
            self.left = step
            self.cells = log._cells

        def _count(self) -> None:
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1

        def __getitem__(self, at: int) -> int:
            self._count()
            return self.cells[at]

        def __setitem__(self, at: int, value: int) -> None:
            self._count()
            self.cells[at] = value

    def append() -> None:
        log._cells = Cells()  # type: ignore[assignment]
        while True:
            log.append(b"s", body(1000))

    with forked(append):
        pass
    number = log.append(b"s", body(2000))
    found = everything(log)
    assert all(whole(record.data) for record in found)
    assert number - before[-1].number <= 5
    assert found[-1] == Record(number, b"s", body(2000))
    kept = [record for record in before if record.number > log.oldest()[1]]
    assert found[: len(kept)] == kept


async def test_process_that_is_stopped_while_it_holds_the_log_holds_up_until_it_is_killed() -> None:
    log = SharedLog(1, SIZE)
    bus, heard = SharedBus(log, 0), Heard()
    await bus.listen("s", heard, 0)

    def hold() -> None:
        mutexes.lock(log._mutex)
        os.kill(os.getpid(), signal.SIGSTOP)

    with forked(hold) as child:
        os.waitpid(child, os.WUNTRACED)  # noqa: ASYNC222 - it takes no time
        killer = threading.Timer(0.2, os.kill, (child, signal.SIGKILL))

        def waited() -> None:
            # In a process of its own: who waits for a mutex keeps the interpreter's lock.
            log.append(b"s", body(3))

        with forked(waited):
            killer.start()
    killer.join()
    await heard.count(1)
    assert heard.events == [(1, body(3))]
    await bus.close()


async def test_successor_in_a_slot_hears_the_past_and_what_comes() -> None:
    """Its predecessor was killed in the middle of hearing."""
    log = SharedLog(2, 1 << 20)
    reader, writer = os.pipe()

    async def hear() -> None:
        heard = Heard()
        await SharedBus(log, 0).listen("s", heard, 100)
        await heard.count(50)
        os.write(writer, b"%d %d" % (heard.floor, heard.numbers[0]))
        await asyncio.Event().wait()

    def life() -> None:
        asyncio.run(hear())

    def said(child: int) -> bytes:
        assert select.select([reader], [], [], 10)[0]
        os.kill(child, signal.SIGKILL)
        return os.read(reader, 100)

    for number in range(40):
        log.append(b"s", body(number))
    for _ in range(3):
        with _new_process(life) as child:
            for number in range(10):
                log.append(b"s", body(number))
            first = said(child)
        assert first == b"0 1"
    os.close(reader)
    os.close(writer)


@contextmanager
def _new_process(life: Callable[[], None]) -> Iterator[int]:
    """Forked by a thread, where no loop runs yet, as a worker is."""
    made: list[int] = []

    def fork() -> None:
        child = os.fork()
        if not child:
            try:
                life()
            finally:
                os._exit(1)
        made.append(child)

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    try:
        yield made[0]
    finally:
        os.waitpid(made[0], 0)
