"""NATS, and every way in which its server, a stream or a consumer can be lost."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
import pytest_asyncio
from nats.js.api import StreamConfig

from gateway.errors import StoreDown
from gateway.stores import nats as adapter
from gateway.stores.nats import Nats
from gateway.stores.sessions import counts
from tests import servers
from tests.servers import Server
from tests.stores.hearing import Heard, Watched

NOBODY = "nats://127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[Server]:
    """To be stopped, held and killed."""
    with servers.nats() as own:
        yield own


@pytest.fixture
def stream() -> str:
    return f"made-{uuid4().hex}"


@pytest.fixture
def subject() -> str:
    return f"event.{uuid4().hex}"


@pytest_asyncio.fixture
async def client(server: Server) -> AsyncIterator[Any]:
    """The operators'."""
    opened = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def make(server: Server) -> AsyncIterator[Callable[..., Nats]]:
    made = []

    def bus(url: str = server.url, **options: Any) -> Nats:
        made.append(Nats(url, **options))
        return made[-1]

    yield bus
    for each in made:
        await each.close()


@contextmanager
def held(server: Server) -> Iterator[None]:
    """There, but silent."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        threads = Path(f"/proc/{server.pid}/task").iterdir
        while any(") T " not in (each / "stat").read_text() for each in threads()):
            time.sleep(0.001)
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def kill(server: Server) -> None:
    """At once; `down` finds it dead."""
    os.kill(server.pid, signal.SIGKILL)


class Publisher:
    """Publishes numbers until it is told to stop; remembers which of them were taken."""

    def __init__(self, bus: Nats, subject: str) -> None:
        self.taken: list[int] = []
        self.refused: list[int] = []
        self._bus, self._subject = bus, subject
        self._stopping = False
        self._task = asyncio.create_task(self._publish())

    async def _publish(self) -> None:
        number = 0
        while not self._stopping:
            number += 1
            try:
                await self._bus.publish(self._subject, b"%d" % number)
            except StoreDown:
                self.refused.append(number)
                await asyncio.sleep(0.02)
            else:
                self.taken.append(number)

    async def stop(self) -> None:
        self._stopping = True
        await self._task


def sent(heard: Heard) -> list[int]:
    return [int(data) for data in heard.data]


def rising(numbers: list[int]) -> bool:
    return all(before < after for before, after in pairwise(numbers))


# ----------------------------------------------------------------------------- without a stream


async def test_server_killed_in_traffic_costs_a_gap_and_nothing_else(
    server: Server, make: Callable[..., Nats], subject: str
) -> None:
    watch, heard = Watched(), Heard()
    listening, sending = make(watch=watch), make()
    await listening.listen(subject, heard, 0)
    publisher = Publisher(sending, subject)
    for round_number in range(1, 4):
        await heard.count(len(heard.events) + 100)
        kill(server)
        with server.down():
            await watch.until("lost")
            before = heard.numbers[-1]
        await heard.until(lambda so_far=round_number: len(heard.begun) > so_far)  # type: ignore[misc]
        # A client that had heard all so far is told, too, that it may have missed something.
        assert heard.begun[-1] == (heard.begun[0][0], before + 1)
        await heard.count(len(heard.events) + 100)
    await publisher.stop()
    assert rising(sent(heard))
    assert rising(heard.numbers)
    assert watch.turns == ["good", "lost"] * 3 + ["good"]


async def test_numbers_are_without_gaps_but_for_the_losses(
    server: Server, make: Callable[..., Nats], subject: str
) -> None:
    heard, bus = Heard(), make()
    await bus.listen(subject, heard, 100)
    await bus.publish(subject, b"1")
    await heard.count(1)
    with server.down():
        pass
    await heard.until(lambda: len(heard.begun) == 2)
    await bus.publish(subject, b"2")
    await heard.count(2)
    epoch = heard.epoch
    assert heard.story == [
        (epoch, 0, b"begin"),
        (epoch, 1, b"1"),
        (epoch, 2, b"begin"),
        (epoch, 3, b"2"),
    ]


# -------------------------------------------------------------------------------- with a stream


async def test_server_killed_in_traffic_loses_nothing_that_is_in_the_stream(
    server: Server, make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    watch, heard, other = Watched(), Heard(), Heard()
    listening, sending = make(watch=watch, stream=stream), make(stream=stream)
    await listening.listen(subject, heard, 100)
    await sending.listen(subject, other, 100)
    publisher = Publisher(sending, subject)
    for _ in range(3):
        await heard.count(len(heard.events) + 100)
        kill(server)
        with server.down():
            await watch.until("lost")
        await heard.count(len(heard.events) + 100)
    await publisher.stop()
    last = (await client.jetstream().stream_info(stream)).state.last_seq
    for each in (heard, other):
        await each.until(lambda each=each: each.numbers[-1] == last)  # type: ignore[misc]
        assert each.numbers == list(range(1, last + 1))
        assert len(each.begun) == 1
        assert set(publisher.taken) <= set(sent(each))
        assert rising(sent(each))
    assert heard.story == other.story
    assert watch.turns == ["good", "lost"] * 3 + ["good"]


async def test_what_others_publish_while_this_one_is_away_is_heard_later(
    server: Server, make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    heard, bus = Heard(), make(stream=stream)
    await bus.listen(subject, heard, 100)
    await bus.publish(subject, b"1")
    await heard.count(1)
    assert bus._client is not None
    transport = bus._client._transport
    assert transport is not None
    transport.close()  # a network that breaks
    for number in range(2, 200):
        await client.jetstream().publish(subject, b"%d" % number)
    await heard.count(199)
    assert sent(heard) == list(range(1, 200))
    assert len(heard.begun) == 1


async def test_deleted_consumer_is_made_anew_and_nothing_is_missed(
    make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    heard, bus = Heard(), make(stream=stream)
    await bus.listen(subject, heard, 100)
    await bus.publish(subject, b"1")
    await heard.count(1)
    context = client.jetstream()
    for consumer in await context.consumers_info(stream):
        await context.delete_consumer(stream, consumer.name)
    for number in range(2, 10):
        await bus.publish(subject, b"%d" % number)
    await heard.count(9)
    assert sent(heard) == list(range(1, 10))
    assert len(heard.begun) == 1


async def test_stream_that_is_made_anew_is_another_epoch(
    make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    heard, bus = Heard(), make(stream=stream)
    await bus.listen(subject, heard, 100)
    for number in range(5):
        await bus.publish(subject, b"%d" % number)
    await heard.count(5)
    await client.jetstream().delete_stream(stream)
    await bus.publish(subject, b"5")  # it makes the stream
    await heard.count(6)
    (first, _), (second, floor) = heard.begun
    assert first != second
    assert floor == 0
    assert heard.events[-1] == (1, b"5")
    late = Heard()
    await make(stream=stream).listen(subject, late, 100)
    assert late.begun == [(second, 0)]


async def test_stream_that_was_put_back_with_less_is_another_epoch(
    make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    """Its creation stays what it was; an older copy has fewer events."""
    heard, bus = Heard(), make(stream=stream)
    await bus.listen(subject, heard, 100)
    await bus.publish(subject, b"1")
    await heard.count(1)
    (listener,) = bus._listeners.values()
    listener.last = 50
    assert listener.session is not None
    listener.session.end()
    await heard.until(lambda: len(heard.begun) == 2)
    assert heard.begun[0][0] != heard.begun[1][0]
    assert len(heard.epoch) <= 32
    assert heard.begun[1][1] == 0
    await heard.count(2)
    assert heard.events == [(1, b"1")] * 2


async def test_purged_stream_goes_on_behind_the_gap(
    make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    bus, heard = make(stream=stream), Heard()
    for number in range(1, 11):
        await bus.publish(subject, b"%d" % number)
    await client.jetstream().purge_stream(stream)
    await bus.listen(subject, heard, 100)
    assert heard.floor == 10
    await bus.publish(subject, b"11")
    await heard.count(1)
    assert heard.events == [(11, b"11")]


async def test_what_the_stream_discarded_while_this_one_was_away_is_a_gap(
    make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    bus, heard = make(stream=stream, recent=5), Heard()
    await bus.listen(subject, heard, 5)
    await bus.publish(subject, b"1")
    await heard.count(1)
    (listener,) = bus._listeners.values()
    assert listener.session is not None
    listener.session.end()  # the next one begins a moment later
    for number in range(2, 102):
        await client.jetstream().publish(subject, b"%d" % number)
    await heard.until(lambda: heard.numbers[-1] == 101)
    assert {epoch for epoch, _ in heard.begun} == {heard.epoch}
    assert rising(heard.numbers)
    behind = [number for _, number, data in heard.story if data == b"begin"]
    jumps = [after - 1 for before, after in pairwise(heard.numbers) if after != before + 1]
    assert jumps == behind[1:]
    assert (await client.jetstream().stream_info(stream)).state.messages == 5 * adapter.KEPT


async def test_message_that_is_missed_is_asked_for_again(
    make: Callable[..., Nats], subject: str, stream: str
) -> None:
    bus, heard = make(stream=stream), Heard()
    await bus.listen(subject, heard, 5)
    (listener,) = bus._listeners.values()
    assert listener.session is not None
    listener.session.delivered += 1  # as if one had come before
    for number in range(1, 4):
        await bus.publish(subject, b"%d" % number)
    await heard.count(3)
    assert heard.events == [(1, b"1"), (2, b"2"), (3, b"3")]


async def test_heartbeat_tells_of_a_message_that_was_missed(
    make: Callable[..., Nats], subject: str, stream: str
) -> None:
    bus, heard = make(stream=stream), Heard()
    await bus.listen(subject, heard, 5)
    await bus.publish(subject, b"1")
    await heard.count(1)
    (listener,) = bus._listeners.values()
    first = listener.session
    assert first is not None
    first.delivered, listener.last = 0, 0
    await heard.count(2)
    assert first.over
    assert heard.events == [(1, b"1")] * 2


async def test_silent_consumer_is_made_anew(
    server: Server, make: Callable[..., Nats], subject: str, stream: str
) -> None:
    bus, heard = make(stream=stream), Heard()
    await bus.listen(subject, heard, 5)
    (listener,) = bus._listeners.values()
    first = listener.session
    assert first is not None
    with held(server):
        async with asyncio.timeout(10):
            while listener.session is first:  # noqa: ASYNC110 - nobody tells when
                await asyncio.sleep(0.05)
    await bus.publish(subject, b"1")
    await heard.count(1)


async def test_events_of_a_shared_stream_are_numbered_with_gaps(
    make: Callable[..., Nats], client: Any, stream: str
) -> None:
    base = uuid4().hex
    await client.jetstream().add_stream(StreamConfig(name=stream, subjects=[f"{base}.*"]))
    bus, heard = make(stream=stream), Heard()
    await bus.listen(f"{base}.mine", heard, 5)
    for name in ("mine", "other", "other", "mine"):
        await bus.publish(f"{base}.{name}", name.encode())
    await heard.count(2)
    assert heard.numbers == [1, 4]
    assert len(heard.begun) == 1


async def test_stream_is_made_once_and_bounded(
    make: Callable[..., Nats], client: Any, subject: str, stream: str
) -> None:
    buses = [make(stream=stream, recent=30) for _ in range(4)]
    await asyncio.gather(*(bus.listen(subject, Heard(), 30) for bus in buses))
    info = await client.jetstream().stream_info(stream)
    assert info.config.subjects == [subject]
    assert info.config.max_msgs == 30 * adapter.KEPT
    assert (info.config.storage, info.config.discard) == ("file", "old")


async def test_consumers_that_are_left_end(
    make: Callable[..., Nats],
    client: Any,
    subject: str,
    stream: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter, "UNUSED", 0.2)
    bus = make(stream=stream)
    await bus.listen(subject, Heard(), 5)
    assert len(await client.jetstream().consumers_info(stream)) == 1
    await bus.close()
    async with asyncio.timeout(10):
        while await client.jetstream().consumers_info(stream):  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.05)


async def test_stream_that_will_not_have_the_subject_is_told_once(
    make: Callable[..., Nats],
    client: Any,
    subject: str,
    stream: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await client.jetstream().add_stream(StreamConfig(name=f"other-{stream}", subjects=[subject]))
    watch, heard = Watched(), Heard()
    bus = make(watch=watch, stream=stream)
    await bus.listen(subject, heard, 5)
    with pytest.raises(StoreDown):
        await bus.publish(subject, b"1")
    await bus.ping()
    assert watch.turns == ["lost"]
    assert len({record.getMessage() for record in caplog.records}) == len(caplog.records)
    await client.jetstream().delete_stream(f"other-{stream}")
    await watch.until("good")
    await bus.publish(subject, b"1")
    await heard.count(1)
    assert watch.turns == ["lost", "good"]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("$JS.ACK.made.consumer.1.20.3.1700000000000000000.4", (20, 3, 4)),
        ("$JS.ACK._.hash.made.consumer.1.20.3.1700000000000000000.4", (20, 3, 4)),
        ("$JS.ACK._.hash.made.consumer.1.20.3.1700000000000000000.4.token", (20, 3, 4)),
    ],
)
def test_counts_are_read_from_either_form(reply: str, said: tuple[int, int, int]) -> None:
    assert counts(reply) == said


# ------------------------------------------------------------------------- away, silent, closed


@pytest.mark.parametrize("kept", [False, True])
async def test_server_away_at_the_start_is_heard_when_it_comes(
    server: Server, make: Callable[..., Nats], subject: str, stream: str, kept: bool
) -> None:
    watch, heard = Watched(), Heard()
    bus = make(watch=watch, stream=stream if kept else "")
    with server.down():
        before = time.monotonic()
        await bus.listen(subject, heard, 5)
        assert time.monotonic() - before < 1.0
        assert not heard.begun
        with pytest.raises(StoreDown):
            await bus.publish(subject, b"0")
        with pytest.raises(StoreDown):
            await bus.ping()
    await heard.until(lambda: bool(heard.begun))
    await bus.publish(subject, b"1")
    await heard.count(1)
    assert heard.data == [b"1"]
    assert watch.turns == ["lost", "good"]
    assert len(watch.errors) == 3  # each call of its own, not each try to connect


@pytest.mark.parametrize("kept", [False, True])
async def test_publish_says_within_two_seconds_that_the_server_is_lost(
    server: Server, make: Callable[..., Nats], subject: str, stream: str, kept: bool
) -> None:
    bus = make(stream=stream if kept else "")
    await bus.publish(subject, b"1")
    with held(server):
        before = time.monotonic()
        with pytest.raises(StoreDown):
            await bus.publish(subject, b"2")
        assert 1.9 < time.monotonic() - before < 2.5
    await bus.publish(subject, b"3")  # its late answers did the client no harm
    with server.down():
        before = time.monotonic()
        with pytest.raises(StoreDown):
            await bus.publish(subject, b"4")
        assert time.monotonic() - before < 2.5


async def test_server_that_was_silent_for_a_while_is_heard_again(
    server: Server, make: Callable[..., Nats], subject: str
) -> None:
    bus, heard = make(), Heard()
    await bus.listen(subject, heard, 0)
    with held(server):
        for _ in range(2):
            with pytest.raises(StoreDown):
                await bus.ping()
    for number in range(50):
        await bus.publish(subject, b"%d" % number)
    await heard.until(lambda: heard.data[-1:] == [b"49"])
    assert bus._client is not None
    assert bus._client._reading_task is not None
    assert not bus._client._reading_task.done()


async def test_ping_tells_how_it_stands(server: Server, make: Callable[..., Nats]) -> None:
    watch = Watched()
    bus = make(watch=watch)
    await bus.ping()
    with server.down():
        await watch.until("lost")
        with pytest.raises(StoreDown):
            await bus.ping()
    await watch.until("good")
    await bus.ping()
    assert watch.turns == ["good", "lost", "good"]


async def test_client_that_gave_up_is_replaced(
    make: Callable[..., Nats], subject: str, client: Any
) -> None:
    """It closes for good on what it takes for a fault of its own."""
    bus, heard = make(), Heard()
    await bus.listen(subject, heard, 0)
    assert bus._client is not None
    await bus._client._process_err("'Maximum Connections Exceeded'")
    await heard.until(lambda: len(heard.begun) == 2)
    await bus.publish(subject, b"1")
    await heard.count(1)
    assert heard.events == [(2, b"1")]


async def test_hearer_that_fails_is_told_of_the_next_event(
    make: Callable[..., Nats], subject: str, stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Heard):
        def event(self, number: int, data: bytes) -> None:
            if data == b"bad":
                raise KeyError("bad")
            super().event(number, data)

    bus, heard = make(stream=stream), Failing()
    await bus.listen(subject, heard, 0)
    for data in (b"good", b"bad", b"fine"):
        await bus.publish(subject, data)
    await heard.count(2)
    assert heard.data == [b"good", b"fine"]
    assert "a hearer failed" in caplog.text


@pytest.mark.parametrize(
    "url", [NOBODY, "nats://ann:hunter2@127.0.0.1:1", "nats://hunter2@[::1]:1"]
)
async def test_nobody_there_is_told_without_secrets(
    url: str, caplog: pytest.LogCaptureFixture, make: Callable[..., Nats]
) -> None:
    caplog.set_level(logging.DEBUG)
    watch = Watched()
    bus = make(url, watch=watch)
    for call in (bus.ping(), bus.publish("a", b"")):
        with pytest.raises(StoreDown):
            await call
    assert watch.turns == ["lost"]
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("url", [NOBODY, ""])
async def test_close_leaves_nothing_behind(server: Server, url: str, subject: str) -> None:
    before = asyncio.all_tasks()
    bus = Nats(url or server.url, stream="made")
    await bus.listen(subject, Heard(), 5)
    await bus.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_close_without_a_call_before_it(make: Callable[..., Nats]) -> None:
    await make().close()


@pytest.mark.parametrize("subject", ["", "a b"])
async def test_subject_that_is_none_is_refused(make: Callable[..., Nats], subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        await make().publish(subject, b"")
