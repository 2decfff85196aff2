"""Clients that come back: nothing lost, nothing twice, or the word that it cannot be had."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.e2e.ears import Site, site, until
from tests.e2e.stage import PATIENCE, Connection

LATEST = -1


async def test_nothing_is_lost_and_nothing_comes_twice_while_updates_flow() -> None:
    """A client leaves and comes back again and again, in the middle of everything."""
    async with site() as one:
        others = [await one.ear("A") for _ in range(300)]  # so that an update takes slices
        stop = asyncio.Event()
        sent = 0

        async def publish() -> None:
            nonlocal sent
            while not stop.is_set():
                await one.publish(sent, "AB"[sent % 2])
                sent += 1
                await asyncio.sleep(0.001)

        publishing = asyncio.create_task(publish())
        first = await one.ear("A", "B")
        offset = (await first.next())["offset"]
        heard = [*first.prices]
        for leap in range(25):
            ear = await one.ear("A", "B", since=offset)
            for _ in range(1 + leap % 7):
                await ear.next()
            assert {message["type"] for message in ear.seen[2:]} == {"prediction_update"}
            heard += ear.prices
            offset = ear.seen[-1]["offset"]
            ear.connection.reset()
        stop.set()
        await publishing
        last = await one.ear("A", "B", since=offset)
        while not last.prices or last.prices[-1] < sent - 1:
            await last.next()
        heard += last.prices
        assert heard == list(range(int(heard[0]), sent))
        await others[0].updates(1)


async def test_who_subscribes_again_on_the_same_connection_misses_nothing() -> None:
    async with site() as one:
        ear = await one.ear("A")
        await one.publish(0)
        offset = (await ear.next())["offset"]
        for price in range(1, 40):
            await one.publish(price)
            if price % 4 == 0:
                await ear.say("unsubscribe", "A")
                while (message := await ear.next())["type"] != "unsubscribed":
                    offset = message["offset"]
                await one.publish(price + 0.5)
                await ear.subscribe("A", since=offset)
        while ear.prices[LATEST] != 39:
            await ear.next()
        assert ear.prices == sorted(set(ear.prices))
        assert len(ear.prices) == 40 + 9


async def test_more_than_any_buffer_holds_is_recovered() -> None:
    async with site({"update_rate": "10/second", "buffer": 10}) as one:
        ear = await one.ear("A")
        await one.publish(0)
        offset = (await ear.next())["offset"]
        ear.connection.reset()
        for price in range(1, 5001):
            await one.publish(price, note="x" * 400)
        await until(lambda: one.hub.status()["offset"].endswith("-5001"))
        back = await one.ear("A", since=offset)
        live = [asyncio.create_task(one.publish(5001 + n)) for n in range(3)]
        await back.updates(5003)
        assert back.prices == [*range(1, 5001), 5001, 5002, 5003]
        await asyncio.gather(*live)
        assert one.hub.queued == 0


async def test_a_client_that_does_not_take_what_it_missed_is_bounded() -> None:
    async with site({"history": 500, "ping_interval": 0}) as one:
        for price in range(500):
            await one.publish(price, note="x" * 2000)
        begin = f"{one.hub.status()['offset'].partition('-')[0]}-0"
        await until(lambda: one.hub.status()["offset"].endswith("-500"))
        deaf = await one.deaf("Z")
        for _ in range(30):
            await deaf.say("subscribe", "A", since=begin)
            await deaf.say("unsubscribe", "A")
        await deaf.say("subscribe", "B")
        (member,) = one.hub.members
        transport = member.exchange.client._transport  # type: ignore[attr-defined]
        await asyncio.sleep(0.1)
        assert len(member._missed or ()) <= 500
        assert transport.get_write_buffer_size() < 200_000
        kinds = []
        while "B" not in deaf.seen[LATEST].get("symbols", ()):
            kinds.append((await deaf.next())["type"])
        assert "refetch" in kinds or kinds.count("prediction_update") <= 30 * 500


@pytest.mark.parametrize("since", ["before the history", "another epoch", "the future"])
async def test_what_cannot_be_had_has_to_be_fetched_again(since: str) -> None:
    async with site({"history": 5}) as one:
        ear = await one.ear("A")
        for price in range(20):
            await one.publish(price)
        offsets = [update["offset"] for update in await ear.updates(20)]
        offset = {
            "before the history": offsets[3],
            "another epoch": "0abc-19",
            "the future": offsets[LATEST] + "9",
        }[since]
        back = await one.ear("A", "B", since=offset)
        assert await back.next() == {"type": "refetch", "symbols": ["A", "B"]}
        await one.publish(20)
        assert (await back.updates(1))[0]["predicted_price"] == 20
        known = await one.ear("A", since=offsets[16])
        assert [update["predicted_price"] for update in await known.updates(4)] == [17, 18, 19, 20]


# --------------------------------------------------------------------------------- as a stream


async def opened(one: Site, query: str = "", *lines: str) -> Connection:
    client = await one.scene.client()
    head = (f"GET /api/stream/predictions?symbols=A,B{query} HTTP/1.0", "Host: a", *lines, "", "")
    await client.send("\r\n".join(head).encode())
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert (await event(client))["event"] == "welcome"
    return client


async def event(client: Connection) -> dict[str, Any]:
    block = (await client.until(b"\n\n")).decode()
    fields: dict[str, Any] = dict(line.split(": ", 1) for line in block.strip().split("\n"))
    fields["data"] = json.loads(fields["data"])
    return fields


async def prices(client: Connection, count: int) -> list[float]:
    return [(await event(client))["data"]["predicted_price"] for _ in range(count)]


@pytest.mark.parametrize("way", ["Last-Event-ID", "since"])
async def test_a_stream_goes_on_where_it_was(way: str) -> None:
    async with site() as one:
        client = await opened(one)
        await one.publish(0)
        offset = (await event(client))["id"]
        client.reset()
        for price in range(1, 6):
            await one.publish(price, "AB"[price % 2])
        if way == "since":
            client = await opened(one, f"&since={offset}")
        else:
            client = await opened(one, "", f"Last-Event-ID: {offset}")
        await one.publish(6)
        assert await prices(client, 6) == [1, 2, 3, 4, 5, 6]


async def test_the_header_is_newer_than_the_query() -> None:
    """A browser connects again with the address that it was given, and where it is by now."""
    async with site() as one:
        client = await opened(one)
        for price in range(4):
            await one.publish(price)
        offsets = [(await event(client))["id"] for _ in range(4)]
        client = await opened(one, f"&since={offsets[0]}", f"Last-Event-ID: {offsets[2]}")
        assert await prices(client, 1) == [3]


async def test_a_stream_that_missed_too_much_is_told() -> None:
    async with site({"history": 2}) as one:
        client = await opened(one)
        for price in range(9):
            await one.publish(price)
        offset = (await event(client))["id"]
        client = await opened(one, "", f"Last-Event-ID: {offset}")
        refetch = await event(client)
        assert refetch["event"] == "refetch"
        assert refetch["data"]["symbols"] == ["A", "B"]


async def test_a_stream_that_is_not_read_is_bounded_and_told_what_it_missed() -> None:
    async with site({"buffer": 20, "ping_interval": 0}) as one:
        client = await opened(one)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for price in range(2000):
            await one.publish(price, note="x" * 8000)
            if price % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: one.hub.status()["offset"].endswith("-2000"))
        (slow,) = one.hub.members
        assert slow.dropped
        assert slow.waiting <= 20
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen, dropped = 0, 0
        async with asyncio.timeout(PATIENCE):
            while seen + dropped < 2000:
                data = (await event(client))["data"]
                seen += data["type"] == "prediction_update"
                dropped += data.get("dropped", 0)
        assert seen + dropped == 2000
        assert dropped == slow.dropped
