"""What every bus does: the host's log, NATS, and NATS with a stream."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest
import pytest_asyncio

from gateway.stores import Bus
from gateway.stores.nats import Nats
from gateway.stores.shared_bus import SharedBus, SharedLog
from tests.stores.hearing import Heard

SLOTS = 8
KEEPING = ("embedded", "stream")
"""Those that have old events for who comes late."""


class Kind:
    """A sort of bus, and a subject that nobody else uses."""

    def __init__(self, name: str, make: Callable[[], Bus]) -> None:
        self.name = name
        self.subject = f"event.{uuid4().hex}.updated"
        self._make = make
        self._made: list[Bus] = []

    def bus(self) -> Bus:
        """Another worker's."""
        self._made.append(self._make())
        return self._made[-1]

    async def heard(self, recent: int = 0, subject: str = "") -> Heard:
        """By another worker, from now on."""
        heard = Heard()
        await self.bus().listen(subject or self.subject, heard, recent)
        return heard

    async def publish(self, *data: bytes) -> None:
        if not self._made:
            self.bus()
        for each in data:
            await self._made[0].publish(self.subject, each)

    async def close(self) -> None:
        for bus in self._made:
            await bus.close()


def nats(url: str, stream: str = "") -> Callable[[], Bus]:
    return lambda: Nats(url, stream=stream, recent=100)


def embedded() -> Callable[[], Bus]:
    log = SharedLog(SLOTS, 1 << 20)
    slots = iter(range(SLOTS))
    return lambda: SharedBus(log, next(slots))


@pytest_asyncio.fixture(params=["embedded", "nats", "stream"])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Kind]:
    made = embedded()
    if request.param != "embedded":
        stream = uuid4().hex if request.param == "stream" else ""
        made = nats(request.getfixturevalue("nats_url"), stream)
    kind = Kind(request.param, made)
    yield kind
    await kind.close()


async def test_what_is_published_is_heard_in_order(kind: Kind) -> None:
    heard = await kind.heard()
    sent = [b"%d" % number for number in range(300)]
    await kind.publish(*sent)
    await heard.count(300)
    assert heard.data == sent
    assert heard.numbers == list(range(heard.floor + 1, heard.floor + 301))
    assert len(heard.begun) == 1
    assert re.fullmatch("[0-9A-Za-z]{1,32}", heard.epoch)


async def test_who_publishes_hears_it_too(kind: Kind) -> None:
    bus, heard = kind.bus(), Heard()
    await bus.listen(kind.subject, heard, 0)
    await bus.publish(kind.subject, b"one")
    await heard.count(1)
    assert heard.data == [b"one"]


async def test_all_hear_the_same(kind: Kind) -> None:
    all_heard = [await kind.heard() for _ in range(3)]
    await kind.publish(b"one", b"two")
    for heard in all_heard:
        await heard.count(2)
        assert heard.data == [b"one", b"two"]
    if kind.name in KEEPING:
        assert all(heard.story == all_heard[0].story for heard in all_heard)


async def test_other_subjects_are_not_heard(kind: Kind) -> None:
    heard = await kind.heard()
    bus = kind.bus()
    if kind.name != "stream":
        for other in (kind.subject + "s", kind.subject[:-1], "x." + kind.subject):
            await bus.publish(other, b"other")
    await bus.publish(kind.subject, b"mine")
    await heard.count(1)
    assert heard.data == [b"mine"]


async def test_what_two_publish_at_once_has_one_order(kind: Kind) -> None:
    one, two = await kind.heard(), await kind.heard()
    buses = [kind.bus(), kind.bus()]
    sent = [b"%d" % number for number in range(200)]
    await asyncio.gather(
        *(buses[number % 2].publish(kind.subject, each) for number, each in enumerate(sent))
    )
    await one.count(200)
    await two.count(200)
    assert sorted(one.data) == sorted(sent)
    assert one.numbers == sorted(one.numbers)
    if kind.name in KEEPING:
        assert one.events == two.events


@pytest.mark.parametrize("data", [b"", b"\0\xff\r\n", b"x" * 60_000])
async def test_any_bytes_pass(kind: Kind, data: bytes) -> None:
    heard = await kind.heard()
    await kind.publish(data)
    await heard.count(1)
    assert heard.data == [data]


async def test_too_much_is_refused_and_nothing_breaks(kind: Kind) -> None:
    heard = await kind.heard()
    with pytest.raises(ValueError, match=r"more than|maximum payload"):
        await kind.publish(b"x" * (2 << 20))
    await kind.publish(b"small")
    await heard.count(1)
    assert heard.data == [b"small"]


async def test_late_one_hears_what_is_kept_or_knows_of_the_gap(kind: Kind) -> None:
    first = await kind.heard()
    await kind.publish(*(b"%d" % number for number in range(10)))
    await first.count(10)
    late = await kind.heard(recent=4)
    if kind.name in KEEPING:
        assert late.begun == [(first.epoch, first.numbers[5])]
        assert late.events == first.events[6:]
    else:
        assert not late.events
        assert late.epoch != first.epoch
    await kind.publish(b"new")
    await late.until(lambda: late.data[-1:] == [b"new"])


async def test_late_one_hears_all_where_it_asks_for_more_than_there_is(kind: Kind) -> None:
    first = await kind.heard(recent=50)
    await kind.publish(b"a", b"b")
    await first.count(2)
    late = await kind.heard(recent=50)
    if kind.name in KEEPING:
        assert (late.floor, late.events) == (first.floor, first.events)


async def test_late_one_who_wants_nothing_old_hears_nothing_old(kind: Kind) -> None:
    first = await kind.heard()
    await kind.publish(b"a", b"b")
    await first.count(2)
    late = await kind.heard()
    await kind.publish(b"c")
    await late.count(1)
    assert late.data == [b"c"]
    if kind.name in KEEPING:
        assert late.begun == [(first.epoch, first.numbers[1])]


async def test_listening_between_events_misses_none(kind: Kind) -> None:
    """Behind the floor every event is heard, whenever one comes."""
    first = await kind.heard()
    sending = asyncio.create_task(kind.publish(*(b"%d" % number for number in range(500))))
    late = await kind.heard(recent=20)
    await sending
    await first.count(500)
    await late.until(lambda: late.data[-1:] == [b"499"])
    assert late.events
    if kind.name in KEEPING:
        assert late.events == [each for each in first.events if each[0] > late.floor]
    assert late.data == first.data[-len(late.data) :]


async def test_after_close_nothing_is_heard(kind: Kind) -> None:
    bus, heard, other = kind.bus(), Heard(), await kind.heard()
    await bus.listen(kind.subject, heard, 0)
    await bus.close()
    await kind._made[1].publish(kind.subject, b"one")
    await other.count(1)
    assert not heard.events
